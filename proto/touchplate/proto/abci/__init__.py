"""The messages of ABCI 2.0 that a peer and its engine exchange. `abci_pb2` is generated: `make proto`."""
