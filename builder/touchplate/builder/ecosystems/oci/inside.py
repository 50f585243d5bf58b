"""Run inside the sandbox of images: bring in the base images, build, write the image out.

    inside.py FILE

FILE is JSON: lists of commands by phase, run one after the other: `prepare`, `build`, `export`. Only what
fails in `build` is the package's own failure, so the phases have exit codes of their own. Without `export`
(in Fetch) that is all. `keep` then names layers of base images by what they unpack to, whose packed form goes
into the image as it was; see `_keep`.
Only the standard library: it is run as `python3 -I -S`.
"""

import json
import os
import shutil
import subprocess
import sys

NOT_PREPARED = 121
NOT_BUILT = 1
NOT_EXPORTED = 122
"""Exit codes, by the phase that failed; 0 when all is done."""

_PHASES = (("prepare", NOT_PREPARED), ("build", NOT_BUILT), ("export", NOT_EXPORTED))


def main(arguments: list[str]) -> int:
    """The exit code."""
    with open(arguments[0], encoding="utf-8") as file:  # noqa: PTH123
        steps = json.load(file)
    os.makedirs(os.environ["TMPDIR"], exist_ok=True)  # noqa: PTH103
    for phase, code in _PHASES:
        for command in steps[phase]:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
            if done.returncode != 0:
                print(f"{command[0]} ended with {done.returncode}", flush=True)
                return code
    if steps["export"]:
        _keep(steps["image"], steps["keep"])
    return 0


def _keep(image: str, layers: dict[str, dict[str, object]]) -> None:
    """Put base images' layers back as they were packed.

    Storage holds them unpacked, and writing the image packs them anew, perhaps with other bytes. A push to
    the registry that has the base sends no such layer, and names the one that is there instead; this does the
    same.
    """
    manifest_path = f"{image}/manifest.json"
    with open(manifest_path, encoding="utf-8") as file:  # noqa: PTH123
        text = file.read()
    manifest = json.loads(text)
    with open(f"{image}/{manifest['config']['digest'].removeprefix('sha256:')}", encoding="utf-8") as file:  # noqa: PTH123
        diff_ids = json.load(file)["rootfs"]["diff_ids"]
    for described, diff_id in zip(manifest["layers"], diff_ids, strict=True):
        base = layers.get(diff_id)
        if base is not None and base["digest"] != described["digest"]:
            for one in ('"digest":"{digest}","size":{size}', '"size":{size},"digest":"{digest}"'):
                text = text.replace(one.format(**described), one.format(**base))
            shutil.copyfile(str(base["path"]), f"{image}/{str(base['digest']).removeprefix('sha256:')}")
    with open(manifest_path, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
