"""Hostile builds: each attack is run through the product's own sandboxes, and again with its walls taken away."""
