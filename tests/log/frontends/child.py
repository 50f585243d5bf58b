"""A frontend in a process of its own, under load: for tests that kill or stop it.

Run as `python -m tests.log.frontends.child FOLDER URL SEED`. It submits entries without end and writes a line
for each event: `ready`, `elected`, `ack NUMBER INDEX new|old`, `busy REASON`. It ends when stdin does.
"""

import os
import random
import sys
from pathlib import Path
from threading import Thread
from time import sleep

from tests.log.frontends.support import append, is_elected, open_frontend
from tests.log.support import signed_entry
from tests.verify.support import statement_signer

from touchplate.log.errors import BusyError
from touchplate.log.frontends.service import FrontendService
from touchplate.log.ports import PackedEntry

DIFFERENT = 4000
"""Entries to choose from: the same in all processes, so that some are repeats."""

SUBMITTERS = 3


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")  # a short line reaches a pipe whole, or not at all


def submit(service: FrontendService, entries: list[PackedEntry], chooser: random.Random) -> None:
    while True:
        numbers = [chooser.randrange(len(entries)) for _ in range(chooser.choice((1, 1, 2, 9)))]
        try:
            answers = append(service, [entries[number] for number in numbers])
        except BusyError as error:
            say(f"busy {error.reason}")
            sleep(0.05)
            continue
        for number, answer in zip(numbers, answers, strict=True):
            say(f"ack {number} {answer.index} {'old' if answer.duplicate else 'new'}")


def watch(service: FrontendService) -> None:
    was = False
    while True:
        now = is_elected(service)
        if now and not was:
            say("elected")
        was = now
        sleep(0.01)


def known_entries() -> list[PackedEntry]:
    """By number; the same in every process."""
    return [signed_entry(number, statement_signer("frontends")) for number in range(DIFFERENT)]


def main(folder: str, url: str, seed: str) -> None:
    entries = known_entries()
    service = open_frontend(Path(folder), url)
    service.start()
    say("ready")
    work = [(submit, (service, entries, random.Random(f"{seed} {number}"))) for number in range(SUBMITTERS)]
    for target, arguments in work:
        Thread(target=target, args=arguments, daemon=True).start()
    Thread(target=watch, args=(service,), daemon=True).start()
    sys.stdin.read()
    service.stop()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
