"""Tables on a terminal: nothing in a cell is taken for markup or drives the terminal."""

import io

from rich.console import Console

from touchplate.base.table_rich import show_table


def test_cells_are_shown_as_they_are_without_control_characters() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=60, force_terminal=False)
    show_table(
        ("job", "package"), [("1", "[bold]pkg:maven/a/b@1[/bold]"), ("2", "x\x1b[31my")], console=console
    )
    head, first, second = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert head == "job  package"
    assert first == "1    [bold]pkg:maven/a/b@1[/bold]"
    assert second == "2    x\N{REPLACEMENT CHARACTER}[31my"
