"""Several processes serve one log from one PostgreSQL database; one of them sequences.

`decider.py` says how entries get into one order, `service.py` wires it. How a sequencer is elected, and why
an old one cannot write, stands in `storage/election.py` and `storage/shared.py`.
"""
