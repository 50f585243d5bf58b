"""Trillian's gRPC interface: TrillianLog and TrillianAdmin (Trillian 1.7), for trees of any bytes and for the
log of attestations, which it only reads."""
