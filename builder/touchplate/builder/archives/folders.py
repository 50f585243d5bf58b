"""The folders that the names in an archive imply, whether it lists them or not."""

from collections.abc import Container


def missing_above(path: str, known: Container[str]) -> list[str]:
    """The folders above `path` that are not in `known`, outermost first.

    Goes up to the first that is known, so that many names in one deep folder cost a step each. A name of a
    kilobyte implies five hundred folders: the caller bounds how many there are.
    """
    missing = []
    while (path := path.rpartition("/")[0]) and path not in known:
        missing.append(path)
    return missing[::-1]
