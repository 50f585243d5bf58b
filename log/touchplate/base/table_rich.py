"""Tables on a terminal, with rich; imported only where that is installed."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from touchplate.base.progress import printable

_COLOURS = {"done": "green", "failed": "red", "cancelled": "yellow", "different": "red", "not-built": "red"}
"""Of cells that are exactly these words."""


def show_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, console: Console | None = None
) -> None:
    """Print aligned columns; the last one is folded when the terminal is narrow."""
    table = Table(box=None, pad_edge=False)
    for head in heads[:-1]:
        table.add_column(head, no_wrap=True)
    table.add_column(heads[-1], overflow="fold")
    for row in rows:
        # Text, not strings: what stands in brackets must not be taken for markup.
        table.add_row(*(Text(printable(cell), style=_COLOURS.get(cell, "")) for cell in row))
    (console or Console()).print(table)
