"""Reading files by name: bounded, and with paths as people write them."""

from pathlib import Path

import pytest

from touchplate.verify.reading import beside, file_name, read_at_most


def test_reads_one_byte_more_than_allowed_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_at_most(path, 5) == b"12345"
    assert read_at_most(str(path), 3) == b"1234"
    with pytest.raises(FileNotFoundError):
        read_at_most(tmp_path / "y", 3)


@pytest.mark.parametrize(
    ("path", "name", "other"),
    [
        ("/a/t.toml", "t.toml", "/a/k/x"),
        ("t.toml", "t.toml", "k/x"),
        ("/t", "t", "/k/x"),
        ("../t", "t", "../k/x"),
    ],
)
def test_finds_names_beside_a_file(path: str, name: str, other: str) -> None:
    assert file_name(path) == name
    assert beside(path, "k/x") == other
    assert beside(Path(path), "k/x") == other
