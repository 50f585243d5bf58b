#!/usr/bin/python3 -IS
"""Run inside the sandbox of images in place of runc: gives each RUN a few variables and files, then is runc.

buildah can give a RUN neither without writing them into the image: so they are put into the container's own
description, which buildah has written and runc is about to read. What the image or the Containerfile sets by
the same name stays. Files are shown below /dev, which is no part of a layer. Only the standard library.
"""

import json
import os
import sys

SETTINGS = "/run/touchplate/runtime.json"
"""`runc`: its path; `environment`: name → value; `files`: path in the container → path here."""


def main(arguments: list[str]) -> None:
    """Become runc."""
    with open(SETTINGS, encoding="utf-8") as file:  # noqa: PTH123
        settings = json.load(file)
    if "create" in arguments:
        bundle = arguments[arguments.index("--bundle") + 1]
        with open(f"{bundle}/config.json", encoding="utf-8") as file:  # noqa: PTH123
            spec = json.load(file)
        add(spec, settings)
        with open(f"{bundle}/config.json", "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump(spec, file)
    os.execv(settings["runc"], [settings["runc"], *arguments])


def add(spec: dict[str, dict[str, list[str]]], settings: dict[str, dict[str, str]]) -> None:
    """Add variables and files to a container's description (OCI runtime specification, config.md)."""
    variables = spec["process"].setdefault("env", [])
    present = {one.partition("=")[0] for one in variables}
    variables += [f"{name}={value}" for name, value in settings["environment"].items() if name not in present]
    mounts: list[object] = spec.setdefault("mounts", [])  # type: ignore[arg-type, assignment]
    for inside, source in settings["files"].items():
        options = ["bind", "ro", "nosuid", "nodev", "noexec"]
        mounts.append({"destination": inside, "type": "bind", "source": source, "options": options})


if __name__ == "__main__":
    main(sys.argv[1:])
