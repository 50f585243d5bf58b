"""The Maven adapter: layout of paths, the judge of one request, and its routes."""
