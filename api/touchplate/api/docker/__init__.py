"""The OCI adapter, the reading half of `/v2/`: images of upstream registries, pulled through the gate."""
