"""Guilty differences beside innocent ones: what somebody who hides a change would have named in its place."""

import zipfile
from dataclasses import replace

import pytest
from tests.builder.mavenparts import manifest, zip_bytes
from tests.builder.tarparts import Item, gzip_bytes, later, tar_bytes, with_checksums
from tests.builder.test_stabilize_zip import Item as ZipItem
from tests.builder.test_stabilize_zip import one_member, zip_of

from touchplate.builder.comparison.compare import MAX_REPORTED, MAX_SUMMARY_LINES, Comparison, compare
from touchplate.builder.stabilize.registry import JAR_STABILIZERS
from touchplate.builder.stabilize.zipparts import ZipArchive, read_zip, write_zip
from touchplate.verify.jcs import parse_json

CLASS_17, CLASS_11 = (b"\xca\xfe\xba\xbe\0\0\0" + one for one in (b"\x3d", b"\x37"))
LATER = (2025, 1, 1, 0, 0, 0)
NAME = "META-INF/MANIFEST.MF"
JAR = {NAME: manifest("Main-Class: A"), "A.class": b"\xca\xfe\xba\xbe\0\0\0\x3d" + b"good" * 20}
EVIL = zip_bytes({**JAR, "A.class": JAR["A.class"][:-4] + b"evil"})
SECOND_NAME = b"\x75\x70\x09\x00\x01\0\0\0\0evil"
FILES = (Item("a", b"text"),)


def jars(published: dict[str, bytes], rebuilt: dict[str, bytes]) -> Comparison:
    return compare(zip_bytes(published), zip_bytes(rebuilt), "a-1.0.jar")


def properties(published: bytes, rebuilt: bytes) -> Comparison:
    return jars({"a.properties": published}, {"a.properties": rebuilt})


@pytest.mark.parametrize(
    ("published", "line"),
    [
        (b"#!/bin/sh\nevil\nexit\n" + zip_bytes(JAR), "the published file is not the same for all readers"),
        (EVIL + zip_bytes(JAR), "the published file is not the same for all readers of zips"),
        (zip_of([ZipItem(name, data) for name, data in JAR.items()], comment=b"evil"), "comments of both"),
        (zip_bytes(JAR, extra=SECOND_NAME), "extra fields 0x7075 differ"),
        (zip_bytes(JAR, extra=b"\x01"), "extra fields differ: an extra field that is cut short"),
        (zip_bytes(JAR, mode=0o120777), "type of file 120777 != 100644"),
        (zip_bytes(JAR, mode=0o104644), "4644 != 0644"),
    ],
    ids=range(7),
)
def test_what_only_some_readers_of_a_zip_see_is_told_beside_times(published: bytes, line: str) -> None:
    found = compare(published, zip_bytes(JAR, time=LATER), "a.jar")
    assert "timestamps" in found.causes
    assert {"content", "set-id"} & set(found.causes)
    assert any(line in one for one in found.summary)


def test_what_packers_write_by_themselves_is_no_content() -> None:
    times = b"\x55\x54\x05\x00\x01\0\0\0\0"
    assert compare(zip_bytes(JAR), zip_bytes(JAR, extra=times), "a.jar").causes == ("timestamps",)
    assert compare(zip_bytes(JAR), zip_bytes(JAR, extra=b"\xfe\xca\0\0"), "a.jar").causes == ("container",)
    assert compare(zip_bytes(JAR), zip_bytes(JAR, time=LATER), "a.jar").causes == ("timestamps",)


def test_the_label_of_a_disk_is_content_since_it_is_not_unpacked() -> None:
    found = compare(one_member(external=8, made_by=20), one_member(external=0, made_by=20), "a.zip")
    assert found.causes == ("content",)
    found = compare(one_member(external=1, made_by=20), one_member(external=0, made_by=20), "a.zip")
    assert found.causes == ("container",)


def test_another_class_version_does_not_hide_other_code() -> None:
    one, other = b"\xca\xfe\xba\xbe\0\0\0\x3d" + b"evil", b"\xca\xfe\xba\xbe\0\0\0\x37" + b"good"
    found = jars({"A.class": one}, {"A.class": other})
    assert found.causes == ("jdk-major", "class-code")


@pytest.mark.parametrize(
    ("published", "rebuilt"),
    [
        (b"run=sh -c \\\n#evil\n", b"run=sh -c \\\n#good\n"),
        (b"a=\\\r\n#evil\n", b"a=\\\r\n#good\n"),
        (b"url=x\x0c#evil\n", b"url=x\x0c#good\n"),
        ("url=x\u2028#evil\n".encode(), "url=x\u2028#good\n".encode()),
        (b"#Mon\n#Tue\\\na=1\n#b\n", b"#Mon\n#Tue\\\n#c\na=1\n"),
    ],
)
def test_a_value_that_looks_like_a_comment_is_no_date(published: bytes, rebuilt: bytes) -> None:
    assert properties(published, rebuilt).causes == ("content",)


def test_a_comment_that_names_an_interpreter_is_no_date() -> None:
    assert properties(b"#!/bin/evil\na=1\n", b"#!/bin/good\na=1\n").causes == ("content",)


@pytest.mark.parametrize(
    ("name", "published", "cause"),
    [
        ("a.txt", b"a\r\nb\r\n", "line-ends"),
        ("a.js", b"a\r\nb\r\n", "line-ends"),
        ("a.txt", b"caf\xe9\r\nb\n", "line-ends"),
        ("a.properties", b"a=\\\r\n b\r\n", "line-ends"),
        ("pom.xml", b"<a>-x \\\r\n -y</a>\n", "line-ends"),
        ("a.sh", b": \\\r\nevil\n", "content"),
        ("a.bin", b"\x01a\r\nb\r\n", "content"),
    ],
)
def test_line_ends_are_named_where_they_mean_no_more(name: str, published: bytes, cause: str) -> None:
    found = jars({name: published}, {name: published.replace(b"\r\n", b"\n")})
    assert found.causes == (cause,)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bin/run.sh", b"exit\r\nevil\n"),
        ("bin/run", b"#!/bin/sh\nexit\r\nevil\n"),
        ("etc/profile", b"return\r\nevil\n"),
        ("Makefile", b"a:\r\n\tevil\n"),
    ],
)
def test_line_ends_of_a_script_are_content_too(name: str, content: bytes) -> None:
    """For a shell, `exit` before CR is another command, and what follows runs."""
    found = jars({name: content}, {name: content.replace(b"\r\n", b"\n")})
    assert found.causes == ("line-ends", "content")
    programs = [zip_bytes({"run": one}, mode=0o100755) for one in (b"exit\r\nevil\n", b"exit\nevil\n")]
    found = compare(programs[0], programs[1], "a.jar")
    assert found.causes == ("line-ends", "content")


GREETING = "say=Grüße\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.sh", "rm é\n"),
        ("a", "#!/bin/sh\nrm é\n"),
        ("a.py", "# coding: utf-8\nrun('é')\n"),
        ("META-INF/services/org.a.B", "org.é\n"),
        ("CMakeLists.txt", "file(GLOB a é.c)\n"),
        ("README.sh", "rm é\n"),
        ("bm/rules.txt", '"é" "" "" "e"\n'),
        ("notice.xml", "<run>é</run>\n"),
        ("a.html", "<script>a é b : c</script>\n"),
        ("a.html", "<p onclick='é'>a</p>\n"),
        ("messages.properties", "é=a\n"),
        ("patterns.properties", GREETING),
        ("application-dev.properties", GREETING),
        ("a.properties", "a=\\\n# é\n"),
    ],
    ids=range(14),
)
def test_letters_that_programs_read_are_content_too(name: str, text: str) -> None:
    for other in (text.encode("ascii", "replace"), text.encode("iso-8859-1")):
        assert jars({name: text.encode()}, {name: other}).causes == ("locale", "content")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("META-INF/NOTICE", "© é\n"),
        ("META-INF/LICENSE-junit.txt", "© é\n"),
        ("META-INF/thirdparty-LICENSE", "© é\n"),
        ("a.html", "<script>a ? b : c</script><p class='a'>é</p>\n"),
        ("a/messages.properties", GREETING),
        ("a/LocalStrings_de.properties", GREETING),
        ("a/b_pt_BR.properties", GREETING + "more=a\\\n  é\n"),
        ("a.properties", "# é\na=1\n"),
    ],
)
def test_letters_that_people_read_are_of_the_locale_alone(name: str, text: str) -> None:
    for other in (text.encode("ascii", "replace"), text.encode("iso-8859-1")):
        assert jars({name: text.encode()}, {name: other}).causes == ("locale",)
        for mode in (0o100755, 0o100644):
            one, another = (zip_bytes({name: data}, mode=mode) for data in (text.encode(), other))
            assert ("content" in compare(one, another, "a.jar").causes) == (mode == 0o100755)


@pytest.mark.parametrize("name", ["messages.properties", "NOTICE", "META-INF/services/org.a.B", "a.txt"])
def test_an_i_without_its_dot_is_another_name(name: str) -> None:
    assert jars({name: "a=Dr\u0131ver\n".encode()}, {name: b"a=Driver\n"}).causes == ("locale", "content")


def test_bytes_that_are_no_text_have_no_locale() -> None:
    assert jars({"a.bin": b"\x01\xb8\xc3"}, {"a.bin": b"\x01??"}).causes == ("content",)


@pytest.mark.parametrize(
    ("line", "published", "rebuilt", "cause"),
    [
        ("Import-Package", "org.ev\u0131l", "org.evil", "manifest"),
        ("Bundle-Vendor", "\u0131", "i", "manifest"),
        ("Import-Package", "org.é", "org.?", "manifest"),
        ("Service-Component", "OSGI-INF/é.xml", "OSGI-INF/?.xml", "content"),
        ("Implementation-Title", "é", "?", "locale"),
    ],
)
def test_names_in_a_manifest_are_of_no_locale(line: str, published: str, rebuilt: str, cause: str) -> None:
    one, other = ({NAME: manifest(f"{line}: {value}")} for value in (published, rebuilt))
    assert jars(one, other).causes == (cause,)


def test_what_a_manifest_says_of_one_entry_may_decide_what_runs() -> None:
    one, other = ({NAME: manifest("", "Name: a/", f"Sealed: {said}", "X: 1")} for said in ("true", "false"))
    assert jars(one, other).causes == ("content",)
    other = {NAME: manifest("", "Name: a/", "Sealed: true", "X: 2")}
    assert jars(one, other).causes == ("manifest",)


@pytest.mark.parametrize(
    ("published", "rebuilt", "causes"),
    [
        (Item("a", b"", 0o4755), Item("a", b"", 0o4775), ("set-id",)),
        (Item("a", b"", 0o4750), Item("a", b"", 0o4755), ("set-id",)),
        (Item("a", b"", 0o4755, owner=(0, 0, "", "")), Item("a", b"", 0o4755), ("set-id",)),
        (Item("a", b"", 0o755, owner=(0, 0, "", "")), Item("a", b"", 0o755), ("owners",)),
        (Item("a", mode=0o2755, type=b"5"), Item("a", mode=0o755, type=b"5"), ("modes",)),
        (Item("a", mode=0o2755, type=b"5"), Item("a", mode=0o2775, type=b"5"), ("umask",)),
    ],
    ids=range(6),
)
def test_whose_rights_a_program_has_and_who_may_run_it_is_no_umask(
    published: Item, rebuilt: Item, causes: tuple[str, ...]
) -> None:
    assert compare(tar_bytes((published,)), tar_bytes((rebuilt,)), "a.tar").causes == causes


@pytest.mark.parametrize(
    ("published", "rebuilt"),
    [
        (("Main-Class: Good", "Main-Class: Evil"), ("Main-Class: Evil", "Main-Class: Good")),
        (
            ("Build-Jdk-Spec: 17", "premain-class: Evil", "Premain-Class: Good"),
            ("Build-Jdk-Spec: 11", "Premain-Class: Good"),
        ),
        (("", "Name: a/", "Sealed: true", "", "Name: a/"), ("", "Name: a/", "", "Name: a/", "Sealed: true")),
    ],
)
def test_attributes_that_stand_twice_are_not_said_to_be_in_another_order(
    published: tuple[str, ...], rebuilt: tuple[str, ...]
) -> None:
    assert jars({NAME: manifest(*published)}, {NAME: manifest(*rebuilt)}).causes == ("content",)


def test_attributes_of_one_entry_are_not_those_of_the_archive() -> None:
    main, entry = b"Manifest-Version: 1.0\r\n", b"Name: x\r\nMain-Class: Evil\r\n"
    found = jars({NAME: entry + b"\r\n" + main + b"\r\n"}, {NAME: main + b"\r\n" + entry + b"\r\n"})
    assert "manifest-order" not in found.causes
    assert "content" in found.causes
    found = jars({NAME: b"\r\n" + main + entry}, {NAME: main + entry})
    assert found.causes == ("content",)


@pytest.mark.parametrize(
    "name", ["Main-Class", "Class-Path", "Launcher-Agent-Class", "Add-Opens", "Multi-Release"]
)
def test_attributes_that_decide_what_runs_deserve_a_look(name: str) -> None:
    found = jars({NAME: manifest(f"{name}: evil", "X: 1")}, {NAME: manifest("X: 2")})
    assert found.causes == ("manifest", "content")
    assert f"{NAME}: {name} evil != (absent)" in found.summary


@pytest.mark.parametrize(
    "published",
    [
        tar_bytes(FILES) + tar_bytes((Item("evil", b"evil"),)),
        tar_bytes(FILES)[:1024] + b"no header".ljust(512) + tar_bytes((Item("evil", b"evil"),)),
        tar_bytes((Item("a", b"text", owner=(1, 1, "x\n16 path=../evil", "y")),)),
    ],
)
def test_what_only_some_readers_of_a_tar_see_is_told_beside_times(published: bytes) -> None:
    for packed in (bytes, gzip_bytes):
        found = compare(packed(published), packed(tar_bytes(later(FILES))), "a.tgz")
        assert {"timestamps", "content"} <= set(found.causes)


def test_bytes_behind_a_packed_member_do_not_hide_behind_its_times() -> None:
    archive = read_zip(zip_bytes({"a": b"text"}))
    (entry,) = archive.entries
    published = write_zip(ZipArchive((replace(entry, packed=entry.packed + b"evil"),), b""))
    found = compare(published, zip_bytes({"a": b"text"}, time=LATER), "a.jar", JAR_STABILIZERS)
    assert (found.result, found.causes) == ("different", ("timestamps", "content"))
    assert "a: in the published file, b'a' does not end where its data end" in found.summary


@pytest.mark.parametrize(
    ("published", "rebuilt", "causes"),
    [
        (b"text", b"text", ("timestamps", "container")),
        (b"a\r\n", b"a\n", ("line-ends", "timestamps", "container")),
        (CLASS_17, CLASS_11, ("jdk-major", "timestamps", "container")),
    ],
)
def test_names_that_a_record_overrides_do_not_hide(
    published: bytes, rebuilt: bytes, causes: tuple[str, ...]
) -> None:
    name = "n" * 150
    data = tar_bytes((Item(name, published),))
    at = data.rindex(b"n" * 100)
    broken = with_checksums(data[:at] + b"evil" + bytes(96) + data[at + 100 :])
    assert compare(broken, tar_bytes(later((Item(name, rebuilt),))), "a.tar").causes == causes
    assert compare(data, tar_bytes(later((Item(name, rebuilt),))), "a.tar").causes == causes[:-1]


def test_every_prefix_and_suffix_of_a_jar_is_content() -> None:
    plain = zip_bytes(JAR, method=zipfile.ZIP_STORED)
    for other in (b"P" + plain, plain + b"\0", plain + EVIL, EVIL + plain):
        found = compare(other, zip_bytes(JAR, time=LATER), "a.jar")
        assert {"content", "class-code"} & set(found.causes)


@pytest.mark.parametrize(
    ("first", "second", "cause"),
    [
        ("a", "b", "entry-order"),
        ("a/b", "a//b", "content"),
        ("x", "./x", "content"),
        ("x", "y/../X", "content"),
        ("BOOT-INF/lib/a.jar", "BOOT-INF/lib/b.jar", "content"),
    ],
)
def test_an_order_that_matters_is_content(first: str, second: str, cause: str) -> None:
    names = {first: b"1", "c": b"2", second: b"3"}
    turned = dict(reversed(names.items()))
    assert jars(names, turned).causes == (cause,)
    items = [Item(name, content) for name, content in names.items()]
    assert compare(tar_bytes(items), tar_bytes(items[::-1]), "a.tar").causes == (cause,)


def test_many_innocent_differences_do_not_push_a_guilty_one_out() -> None:
    published, rebuilt = {}, {}
    for number in range(3):
        published[f"{number}.txt"], rebuilt[f"{number}.txt"] = b"a\r\n", b"a\n"
        published[f"{number}.class"], rebuilt[f"{number}.class"] = CLASS_17, CLASS_11
        published[f"missing{number}"], rebuilt[f"extra{number}"] = b"", b""
    published |= {NAME: manifest("A: 1", "B: 2", "C: 3"), "z": b"evil"}
    rebuilt |= {NAME: manifest("A: 2", "B: 3", "C: 4"), "z": b"good"}
    found = compare(zip_bytes(published), zip_bytes(rebuilt, time=LATER), "a.jar")
    assert len(found.summary) == MAX_SUMMARY_LINES
    assert "z: evil != good" in found.summary
    found = compare(zip_bytes(published), zip_bytes(rebuilt, mode=0o100600), "a.jar")
    assert "z: evil != good" in found.summary


def test_many_innocent_differences_do_not_push_a_guilty_one_out_of_the_report() -> None:
    names = {f"{number:05}": b"" for number in range(MAX_REPORTED + 1)}
    one, other = zip_bytes(names | {"z": b"evil"}), zip_bytes(names | {"z": b"good"}, time=LATER)
    report = parse_json(compare(one, other, "a.jar").report, max_bytes=1 << 22)
    assert isinstance(report, dict)
    assert isinstance(report["differences"], list)
    assert (len(report["differences"]), report["omitted"]) == (MAX_REPORTED, 3)
    assert {"path": "z", "cause": "content", "detail": "evil != good"} in report["differences"]
