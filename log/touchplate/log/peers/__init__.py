"""Several peers hold one log by Byzantine agreement: CometBFT decides blocks, the machine here executes them.

state, machine, checks, transactions   what follows from a block; pure
rules, changes, statements, overview   who may write and decide, how that changes, and how it is told; pure
application, transport                 the machine behind ABCI 2.0 on a unix socket
decider                                the `Decider` of the log: entries -> transactions -> decided blocks
guard, heads, gathering                signing decided heads, and collecting a quorum of cosignatures
engine, home                           CometBFT: its files, its process
service                                all of it, wired as a log for the node
"""
