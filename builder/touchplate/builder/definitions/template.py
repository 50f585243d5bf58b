"""What the ecosystems' templates of definitions share."""

import re

FILL_IN = "FILL-IN"
"""Stands in a template where only a person knows the value; no field takes it."""


def definition_name(text: str) -> str:
    """`text` as the name of a definition: what may not stand in one becomes `-`, or is left out in front."""
    return re.sub(r"[^A-Za-z0-9._+-]", "-", text).lstrip("_+.-")[:128] or "package"
