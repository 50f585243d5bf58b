"""Build roots: what a build sees as /usr and /etc, made of pinned Debian packages instead of the host."""
