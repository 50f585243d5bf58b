"""A log as objects in a bucket of an S3-compatible store, which any number of readers ask over plain HTTP.

`config.py` is the table `[log.bucket]`, `objects.py` the store (the only file that knows obstore),
`bucket.py` the order in which a log's files become objects.
"""
