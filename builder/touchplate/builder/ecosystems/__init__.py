"""What differs between ecosystems: names, sources, tools, plans."""
