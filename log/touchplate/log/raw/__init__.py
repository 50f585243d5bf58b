"""Raw trees over HTTP: trees of any bytes, each a log of its own with origin, key and tlog-tiles."""
