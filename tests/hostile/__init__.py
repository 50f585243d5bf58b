"""Hostile builds: each attack runs in the product's own sandboxes, and with its walls left out."""
