"""The storage of record: SQL tables behind the `Tree` port. The only place of the log that imports
SQLAlchemy."""
