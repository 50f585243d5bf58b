"""How many connections a server may have open: each takes a descriptor, and a process has 1,024 at first.

The soft limit is only a default from the days of select(2); a server raises its own up to the hard one.
"""

import resource

SPARE = 512
"""Descriptors for everything else: databases, files that are sent, connections to others."""


def room_for(connections: int) -> int:
    """Raise the limit of open files for so many connections; how many there is room for, at least one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return connections
    return max(1, min(connections, soft - SPARE))
