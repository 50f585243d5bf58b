"""Conan 2 packages, rebuilt from their recipe revision."""
