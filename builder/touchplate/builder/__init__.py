"""Rebuild a published package from source in a sandbox, compare, and attest what was found."""
