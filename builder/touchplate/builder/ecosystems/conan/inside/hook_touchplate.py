"""A Conan hook: the same sources give the same package, wherever and whenever it is built.

For `<conan home>/extensions/hooks`. `touchplate rebuild` uses it; a publisher who uses it too, and sets
SOURCE_DATE_EPOCH, publishes packages that others can rebuild also with debug information.
"""

import os
from pathlib import Path
from typing import Any


def pre_generate(conanfile: Any) -> None:
    """Compilers write other names for the folders of the build: those differ from build to build."""
    maps = [(conanfile.build_folder, "/b"), (conanfile.source_folder, "/s")]
    for other in conanfile.dependencies.values():
        if other.package_folder is not None:
            maps.append((other.package_folder, f"/d/{other.ref.name}"))
    # The last map that fits wins, so the folder inside the other comes last.
    maps = sorted(dict(maps).items(), key=lambda pair: len(pair[0]))
    flags = [f"-ffile-prefix-map={folder}={name}" for folder, name in maps]
    for kind in ("cflags", "cxxflags"):
        for flag in flags:
            conanfile.conf.append(f"tools.build:{kind}", flag)


def post_package(conanfile: Any) -> None:
    """All files of the package are from one moment."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return
    for folder, folders, files in os.walk(conanfile.package_folder):
        for name in (*folders, *files):
            os.utime(Path(folder, name), (int(epoch), int(epoch)), follow_symlinks=False)
