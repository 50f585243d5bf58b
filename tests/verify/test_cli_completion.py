"""`touchplate completion bash`: a real shell offers the commands and options that there are."""

import json
import subprocess
from pathlib import Path

import pytest

from touchplate.verify import cli

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def script(tmp_path: Path, capsys: Captured) -> Path:
    assert cli.main(["completion", "bash"]) == 0
    file = tmp_path / "completion.bash"
    file.write_text(capsys.readouterr().out)
    return file


def complete(script: Path, *words: str) -> set[str]:
    """What bash offers for the last word."""
    call = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _touchplate'
    program = f'source "$0"; {call}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        ["bash", "-eu", "-c", program, str(script), "touchplate", *words],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("veri",), {"verify"}),
        (("bui",), {"builder"}),  # no command by itself
        (("builder", ""), {"probe", "root", "work"}),
        (("trust", "in"), {"init"}),
        (("trust", "export", "--si"), {"--sigstore"}),
        (("verify", "a.jar", "--trust", "t.toml", "--req"), {"--require"}),
        (("vsa", "check", "--max"), {"--max-age"}),
        (("keygen", "--for", "log", "--na"), {"--name"}),
        (("completion", "ba"), {"bash"}),
        (("nonsense", "--ver"), {"--version"}),
        (("verify", "no-such-option"), set()),
    ],
)
def test_bash_offers_what_may_follow(script: Path, words: tuple[str, ...], offered: set[str]) -> None:
    assert offered <= complete(script, *words)
    assert all(word.startswith(words[-1]) for word in complete(script, *words))


def test_the_words_come_as_json_too(capsys: Captured) -> None:
    assert cli.main(["completion", "bash", "--json"]) == 0
    words = json.loads(capsys.readouterr().out)
    assert {"init", "show", "export"} <= set(words["touchplate trust"])
    assert words["touchplate link"] == ["check"]
