"""Adapters, gate, index and pages: packages served with their proofs, or refused with the reason."""
