"""The log: sequencing, storage, admission, publishing, and its HTTP face."""
