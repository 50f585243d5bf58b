"""Definitions: how each package version is built; read, checked, kept in folders, written."""
