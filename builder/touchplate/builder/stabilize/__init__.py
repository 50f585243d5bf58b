"""Stabilizers: named, versioned, pure steps that take one accident out of a file, and nothing else."""
