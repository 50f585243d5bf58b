"""The log's HTTP face: a small ASGI function for the hot paths, a FastAPI router for the rest."""
