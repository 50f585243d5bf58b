"""What a worker shows on a terminal: a bar for each slot, a line for each phase that is over."""

import io
import re

from touchplate.base.progress import PlainProgress
from touchplate.base.progress_rich import RichProgress
from touchplate.builder.cli.work import SlotBars


def test_a_slot_shows_one_phase_after_the_other() -> None:
    stream = io.StringIO()
    bars = SlotBars(PlainProgress(stream))
    bars.show(0, "job 7: pkg:maven/a/b@1")
    bars.show(1, "job 8: fetch")
    bars.show(0, "job 7: build")
    bars.show(0, "")
    bars.show(0, "")
    assert re.sub(r"\d+ s$", "N s", stream.getvalue(), flags=re.MULTILINE).splitlines() == [
        "    slot 0: job 7: pkg:maven/a/b@1: N s",
        "    slot 0: job 7: build: N s",
    ]


def test_a_terminal_shows_what_runs_and_what_is_over() -> None:
    stream = io.StringIO()
    with RichProgress(stream) as progress:
        bars = SlotBars(progress)
        bars.show(0, "job 7: [bold]fetch")  # what stands in brackets is no markup
        bars.show(0, "")
    assert "slot 0: job 7: [bold]fetch: 0 s" in stream.getvalue()
