"""The only place where log, builder and api meet: one process, one port."""
