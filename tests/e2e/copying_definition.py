"""A definition whose build asks the upstream for the published jar: it must be refused."""

import json
from pathlib import Path

from tests.e2e.demo_setup import jar_path
from tests.e2e.demo_world import JAR, World

COPY = f"""
import os, urllib.request
os.makedirs("target", exist_ok=True)
with urllib.request.urlopen("http://127.0.0.1:3128/central/{jar_path("3.17.0")}") as answer:
    open("target/{JAR}", "wb").write(answer.read())
"""


def copying_definition(world: World, package: str) -> Path:
    """Write the definition; everything but the command is as it would be inferred."""
    sources, pom = (
        jar_path("3.17.0").replace(".jar", "-sources.jar"),
        jar_path("3.17.0").replace(".jar", ".pom"),
    )
    value = {
        "version": 1,
        "name": "copied",
        "package": package,
        "source": {
            "kind": "sources-jar",
            "files": [
                {
                    "uri": f"upstream:central/{sources}",
                    "sha256": "5fdcac21ad329766054a95367d7583dfcdca737d221d5e01a5f2a198c04c6b18",
                    "size": 728980,
                },
                {
                    "uri": f"upstream:central/{pom}",
                    "sha256": "351c6e4940e939b1f330df47f60f13ba383db81ee008181af541f3a2a6d2a56c",
                    "size": 31256,
                },
            ],
        },
        "command": ["/usr/bin/python3", "-c", COPY],
        "outputs": [{"path": f"target/{JAR}", "package": package}],
    }
    return world.write("copying.json", json.dumps(value))
