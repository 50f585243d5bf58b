"""Archives of strangers, read within limits: zips and tars."""
