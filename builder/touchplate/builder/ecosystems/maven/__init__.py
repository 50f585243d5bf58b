"""Maven: coordinates, POM and manifest reading, sources, tools and plans for released libraries."""
