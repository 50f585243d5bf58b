"""All fuzz targets, by name."""

from tests.fuzz import audits, builds, bundles, notes, packages, statements, trees, unlogged, witness
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (notes, trees, witness, audits, statements, unlogged, bundles, packages, builds)
    for target in module.TARGETS
}
