"""Asking witnesses: a head is published when those that a policy names have cosigned it."""
