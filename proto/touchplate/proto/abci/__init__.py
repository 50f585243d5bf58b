"""The messages of ABCI 2.0 that a peer speaks with its consensus engine. `abci_pb2` is generated: `make proto`."""
