"""An operator's folder: every definition at the place of its package, and nothing read that is not one."""

import os
import shutil
import subprocess
from pathlib import Path, PurePosixPath

import pytest
from tests.builder.test_definitions import VALID

from touchplate.builder.definitions.folder import (
    check_file,
    check_folder,
    find_definition,
    read_definition_file,
    save_definition,
)
from touchplate.builder.definitions.path import definition_path
from touchplate.builder.definitions.yamlcore import MAX_BYTES
from touchplate.builder.errors import DefinitionError
from touchplate.verify.purl import parse_purl

PACKAGE = parse_purl("pkg:maven/org.example/demo@1.0?type=jar")
PLACE = "maven/org.example/demo/1.0.yaml"
DATA = VALID.encode()


def put(folder: Path, path: str, data: bytes = DATA) -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def said(folder: Path) -> dict[str, list[str]]:
    return {
        str(one.path.relative_to(folder)): [mistake.text for mistake in one.mistakes]
        for one in check_folder(folder)
    }


@pytest.mark.parametrize(
    ("package", "path"),
    [
        (str(PACKAGE), PLACE),
        ("pkg:maven/org.example/demo@1%2B0?classifier=x&type=jar", "maven/org.example/demo/1%2B0.yaml"),
        ("pkg:maven/a/b@1?repository_url=r.example.org&type=jar", "maven@r.example.org/a/b/1.yaml"),
        ("pkg:maven/a/b@1?repository_url=r.example.org/x&type=jar", "maven@r.example.org%2Fx/a/b/1.yaml"),
        ("pkg:conan/z@1?file=conan_package.tgz&package_id=ab&prev=cd&rrev=ef", "conan/z/1/ef/ab@cd.yaml"),
        (
            "pkg:conan/z@1?channel=c&file=conan_package.tgz&package_id=ab&prev=cd&rrev=ef&user=u",
            "conan/z/1@u@c/ef/ab@cd.yaml",
        ),
        (
            f"pkg:oci/app@sha256:{'a' * 64}?repository_url=r.example.org:5000/t/app",
            f"oci/r.example.org%3A5000/t/app/sha256-{'a' * 64}.yaml",
        ),
    ],
)
def test_each_package_version_has_one_place(package: str, path: str) -> None:
    assert definition_path(parse_purl(package)) == PurePosixPath(path)


def test_a_folder_of_good_definitions_has_no_mistakes(tmp_path: Path) -> None:
    put(tmp_path, PLACE)
    put(tmp_path, "README.md", b"# ours")
    put(tmp_path, ".github/workflows/check.yaml", b"on: push")
    put(tmp_path, ".hidden.yaml", b"a: b")
    assert said(tmp_path) == {PLACE: []}


def test_a_definition_stands_at_the_place_of_its_package(tmp_path: Path) -> None:
    put(tmp_path, "maven/org.example/demo/1.1.yaml")
    put(tmp_path, "maven/org.example/demo/1.0.yml", b"a: &b c\n" + DATA)
    found = said(tmp_path)
    (text,) = found["maven/org.example/demo/1.1.yaml"]
    assert text == (
        f"belongs to {PLACE}, and the file is maven/org.example/demo/1.1.yaml; move it, or correct this"
    )
    # Together with the others of the same file.
    assert len(found["maven/org.example/demo/1.0.yml"]) == 3
    assert check_file(tmp_path / "maven/org.example/demo/1.1.yaml").mistakes == ()


def test_two_definitions_of_one_package_are_a_mistake(tmp_path: Path) -> None:
    for name in ("1.0.yaml", "1.0.json"):
        put(tmp_path, f"maven/org.example/demo/{name}")
    assert said(tmp_path)[PLACE] == [
        "maven/org.example/demo/1.0.json is of the same package; keep one of them"
    ]
    with pytest.raises(DefinitionError, match="are of one package"):
        find_definition(tmp_path, PACKAGE)


def test_links_and_other_kinds_of_file_are_named_and_not_followed(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside", "secret.yaml", b"password: x\n")
    folder = tmp_path / "folder"
    put(folder, PLACE)
    (folder / "link.yaml").symlink_to(outside)
    (folder / "dangling.json").symlink_to(tmp_path / "nothing")
    (folder / "other").symlink_to(outside.parent)
    os.mkfifo(folder / "pipe.yaml")
    found = said(folder)
    assert found.pop(PLACE) == []
    assert set(found) == {"link.yaml", "dangling.json", "other", "pipe.yaml"}
    assert {text for texts in found.values() for text in texts} == {
        "is a symbolic link; put the definition itself here",
        "is no regular file; a definition is one",
    }
    assert "password" not in str(found)


def test_a_folder_without_definitions_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="holds no definition"):
        check_folder(tmp_path)
    (tmp_path / "HEAD").write_text("ref: refs/heads/main\n")
    with pytest.raises(DefinitionError, match="bare repository, check it out"):
        check_folder(tmp_path)


def test_an_oversized_file_is_not_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "big.yaml"
    with file.open("wb") as stream:
        stream.truncate(10 * 1024**3)  # sparse
    assert len(read_definition_file(file)) == MAX_BYTES + 1
    assert f"longer than {MAX_BYTES} bytes" in check_file(file).mistakes[0].text


def test_the_work_tree_of_a_git_repository_is_read_without_its_hooks(tmp_path: Path) -> None:
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed: apt-get install git")
    folder, ran = tmp_path / "repository", tmp_path / "ran"
    subprocess.run([git, "init", "-q", str(folder)], check=True)
    hooks = ("post-checkout", "pre-commit", "fsmonitor-watchman", "reference-transaction")
    for name in hooks:
        hook = put(folder, f".git/hooks/{name}", f"#!/bin/sh\necho {name} >> {ran}\n".encode())
        hook.chmod(0o755)
    settings = {
        "core.fsmonitor": str(folder / ".git/hooks/fsmonitor-watchman"),
        "filter.x.smudge": f"touch {ran}",
    }
    for key, value in settings.items():
        subprocess.run([git, "-C", str(folder), "config", key, value], check=True)
    put(folder, ".gitattributes", b"*.yaml filter=x\n")
    save_definition(folder, PACKAGE, DATA)
    assert said(folder) == {PLACE: []}
    assert not ran.exists()
    # The hooks are no dead letters: git itself runs them.
    subprocess.run([git, "-C", str(folder), "status"], check=True, capture_output=True)
    assert ran.exists()


def test_saving_makes_the_place_and_keeps_what_stands_there(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert save_definition(folder, PACKAGE, DATA) == folder / PLACE
    assert save_definition(folder, PACKAGE, DATA) == folder / PLACE
    with pytest.raises(DefinitionError, match="stands there already, and is another"):
        save_definition(folder, PACKAGE, DATA + b"# more\n")
    assert (folder / PLACE).read_bytes() == DATA
    assert find_definition(folder, PACKAGE) == folder / PLACE
    (folder / PLACE).rename(folder / PLACE.replace(".yaml", ".json"))
    with pytest.raises(DefinitionError, match=r"1\.0\.json"):
        save_definition(folder, PACKAGE, DATA)


@pytest.mark.parametrize("link", ["maven", "maven/org.example", "maven/org.example/demo"])
def test_saving_does_not_follow_a_link_out_of_the_folder(tmp_path: Path, link: str) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    outside.mkdir()
    (folder / link).parent.mkdir(parents=True)
    (folder / link).symlink_to(outside)
    with pytest.raises(DefinitionError, match="leads out of"):
        save_definition(folder, PACKAGE, DATA)
    assert list(outside.iterdir()) == []
