"""A log that keeps its entries in somebody else's Trillian: the `Tree` port over Trillian's gRPC interface.

    sequencer ─► tree ─► remote: QueueLeaf … (Trillian integrates) … GetLatestSignedLogRoot, GetLeavesByRange
                  │                                                                   │
                  │        each leaf ours? root recomputed? ◄─────────────────────────┘
                  ▼
                 derived (`storage/derived`): tiles, identities, signed head, in one transaction

Trillian decides the order and keeps the entries. What it says is a claim, and nothing is signed but a root
that was computed here, from leaves that this log admitted.
"""
