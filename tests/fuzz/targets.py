"""All fuzz targets, by name."""

from tests.fuzz import audits, bundles, notes, packages, statements, trees
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (notes, trees, audits, statements, bundles, packages)
    for target in module.TARGETS
}
