"""One fuzz target under atheris: `python -m tests.fuzz.child TARGET [libFuzzer options]`.

Coverage is of our code only; the targets and the standard library are not instrumented.
"""

import sys
from random import Random

import atheris

with atheris.instrument_imports(include=["touchplate"], enable_loader_override=False):
    from tests.fuzz.jsonmutator import mutate_json
    from tests.fuzz.target import Target
    from tests.fuzz.targets import TARGETS


def planted(data: bytes) -> bool:
    """A target with a bug: the runner has to find it before it is believed when it finds nothing."""
    # Letter by letter, so that coverage leads to it.
    if data[:1] == b"B":  # noqa: SIM102
        if data[1:2] == b"U":  # noqa: SIM102
            if data[2:3] == b"G":
                raise ValueError("the planted bug")
    return False


def main(arguments: list[str]) -> None:
    """Runs until libFuzzer ends the process: status 0, or another one for a finding."""
    name, *options = arguments
    targets = {**TARGETS, "planted": Target("planted", atheris.instrument_func(planted), list)}
    target = targets[name]

    def one(data: bytes) -> None:
        target.check(data)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        changed = mutate_json(data, Random(seed)) if seed % 2 else None
        if changed is None or len(changed) > max_size:
            changed = bytes(atheris.Mutate(data, max_size))
        return changed

    mutator = {"custom_mutator": mutate} if target.is_json else {}
    atheris.Setup([sys.argv[0], *options], one, **mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
