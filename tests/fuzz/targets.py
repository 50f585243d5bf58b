"""All fuzz targets, by name."""

from tests.fuzz import bundles, notes, statements, trees
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target for module in (notes, trees, statements, bundles) for target in module.TARGETS
}
