"""Taking a built image out of the sandbox: its manifest, and every blob that it names, hashed by the
supervisor.

What lies there was written by a stranger's build. Only plain files at their exact places are taken
(`collect`), each must be what its name and the manifest say, and all together may not be larger than one
output may be.
"""

from pathlib import Path

from touchplate.builder.cache import Cache
from touchplate.builder.ecosystems.oci.definition import OUTPUT
from touchplate.builder.ecosystems.oci.manifests import (
    MAX_MANIFEST_BYTES,
    Manifest,
    parse_config,
    parse_manifest,
)
from touchplate.builder.ecosystems.oci.plan import IMAGE
from touchplate.builder.errors import ImageError, PhaseFailed
from touchplate.builder.plan import CollectedFile
from touchplate.builder.sandbox.collect import collect


def collect_image(home: Path, cache: Cache, *, platform: str, max_bytes: int) -> CollectedFile:
    """The manifest of the image below the job's home; its blobs are in `cache.outputs` then.

    Raises PhaseFailed `collect`: missing-output, refused-output or too-large.
    """
    path = f"{IMAGE}/{OUTPUT}"
    found = collect(home, [path], cache, max_bytes=MAX_MANIFEST_BYTES)[path]
    try:
        manifest = parse_manifest(found.path.read_bytes(), "the built manifest")
        _collect_blobs(home, cache, manifest, max_bytes)
        config = parse_config(cache.outputs.path(manifest.config.sha256).read_bytes(), "the built config")
        if config.platform != platform:
            raise ImageError(f"the built image is for {config.platform}, not {platform}")
    except ImageError as error:
        raise PhaseFailed("collect", "refused-output", str(error)) from error
    return found


def _collect_blobs(home: Path, cache: Cache, manifest: Manifest, max_bytes: int) -> None:
    if (total := sum(blob.size for blob in manifest.blobs)) > max_bytes:
        raise PhaseFailed("collect", "too-large", f"the image has {total} bytes, more than {max_bytes}")
    if manifest.config.size > MAX_MANIFEST_BYTES:
        raise PhaseFailed("collect", "too-large", f"the config has {manifest.config.size} bytes")
    for blob in manifest.blobs:
        path = f"{IMAGE}/{blob.sha256}"
        taken = collect(home, [path], cache, max_bytes=blob.size)[path]
        if (taken.sha256, taken.size) != (blob.sha256, blob.size):
            raise ImageError(
                f"blob {blob.sha256} has sha256 {taken.sha256} and {taken.size} bytes, not {blob.size}"
            )
