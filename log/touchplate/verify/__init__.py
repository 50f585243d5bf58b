"""The auditors' half: check a package against its evidence, offline, trusting only keys.

Standard library and `cryptography` only. Everything but `client` and `cli` is pure: bytes and times in,
verdicts out.
"""
