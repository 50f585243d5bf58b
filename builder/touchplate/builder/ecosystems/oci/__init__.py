"""Container images: rebuilt from a Containerfile and its context by buildah, compared level by level."""
