"""Comparison: the causes that are named, and what is never explained away."""

import io
import struct
import zipfile

import pytest
from tests.builder.mavenparts import manifest, zip_bytes

from touchplate.builder.comparison.compare import MAX_SUMMARY_LINES, Comparison, compare
from touchplate.verify.jcs import parse_json

CLASS_17 = b"\xca\xfe\xba\xbe\x00\x00\x00\x3d" + b"code" * 20
CLASS_11 = b"\xca\xfe\xba\xbe\x00\x00\x00\x37" + b"code" * 20


def jars(published: dict[str, bytes], rebuilt: dict[str, bytes]) -> Comparison:
    return compare(zip_bytes(published), zip_bytes(rebuilt), "a-1.0.jar")


def test_identical_bytes_are_identical() -> None:
    assert compare(b"x", b"x", "a.jar") == Comparison(result="identical")


def test_names_the_jdk_from_the_manifest() -> None:
    found = jars(
        {"META-INF/MANIFEST.MF": manifest("Build-Jdk-Spec: 17"), "A.class": CLASS_17},
        {"META-INF/MANIFEST.MF": manifest("Build-Jdk-Spec: 11"), "A.class": CLASS_17},
    )
    assert found.result == "different"
    assert found.causes == ("jdk-major",)
    assert found.summary == ("META-INF/MANIFEST.MF: Build-Jdk-Spec 17 != 11",)
    assert found.count == 1


def test_names_the_jdk_from_class_files() -> None:
    found = jars({"A.class": CLASS_17}, {"A.class": CLASS_11})
    assert found.causes == ("jdk-major",)
    assert found.summary == ("A.class: class file version 61 != 55",)


@pytest.mark.parametrize(
    ("line", "published", "rebuilt", "cause"),
    [
        ("Build-Jdk", "17.0.12", "17.0.15", "jdk-patch"),
        ("Build-Jdk", "1.8.0_292", "1.8.0_402", "jdk-patch"),
        ("Build-Jdk", "1.8.0_292", "11.0.2", "jdk-major"),
        ("Build-Jdk", "17.0.12", "", "jdk-major"),
        ("Created-By", "17.0.15 (Debian)", "17.0.15 (Eclipse Adoptium)", "jdk-patch"),
        ("Created-By", "17.0.2 (Oracle Corporation)", "21.0.1 (Debian)", "jdk-major"),
        ("Created-By", "Maven JAR Plugin 3.4.1", "Maven JAR Plugin 3.4.2", "manifest"),
        ("Build-Jdk-Spec", "1.8", "8", "manifest"),
    ],
)
def test_another_update_of_a_jdk_is_no_other_major_version(
    line: str, published: str, rebuilt: str, cause: str
) -> None:
    one, other = ({"META-INF/MANIFEST.MF": manifest(f"{line}: {value}")} for value in (published, rebuilt))
    assert jars(one, other).causes == (cause,)


def module_class(
    release: bytes, *, own: bytes = b"5.1.17", required: bytes = b"java.base", tail: bytes = b""
) -> bytes:
    """A module's descriptor that requires one module of one release (JVM specification 4.7.25)."""
    texts = [b"module-info", b"m", own, required, release, b"Module"]
    pool = b"".join(struct.pack(">BH", 1, len(text)) + text for text in texts)
    pool += struct.pack(">BHBHBH", 7, 1, 19, 2, 19, 4)  # 7: the class, 8: module m, 9: what it requires
    attribute = struct.pack(">4H 3H 4H", 8, 0, 3, 1, 9, 0x8000, 5, 0, 0, 0, 0)
    head = b"\xca\xfe\xba\xbe" + struct.pack(">3H", 0, 61, 10)
    rest = struct.pack(">7H HI", 0x8000, 7, 0, 0, 0, 0, 1, 6, len(attribute))
    return head + pool + rest + attribute + tail


def test_a_module_says_against_which_update_of_the_jdk_it_was_compiled() -> None:
    one, other = module_class(b"17.0.12"), module_class(b"17.0.15+6-Debian")
    found = jars({"module-info.class": one}, {"module-info.class": other})
    assert found.causes == ("jdk-patch",)
    assert found.summary == ("module-info.class: compiled against JDK 17.0.12 != 17.0.15+6-Debian",)


@pytest.mark.parametrize(
    ("published", "rebuilt"),
    [
        (module_class(b"17.0.12"), module_class(b"21.0.1")),
        (module_class(b"17.0.12"), module_class(b"17.0.12", own=b"5.1.18")),
        (module_class(b"17.0.12", own=b"17.0.12"), module_class(b"17.0.15", own=b"17.0.15")),
        (module_class(b"1.7.12", required=b"org.lib"), module_class(b"1.7.15", required=b"org.lib")),
        (module_class(b"17.0.12"), module_class(b"17.0.15", tail=b"more")),
        (module_class(b"17.0.12"), module_class(b"17.0.15")[:-30]),
        (module_class(b"17.0.12"), module_class(b"17.0.15\xff")),
        (CLASS_17 + b"17.0.12", CLASS_17 + b"17.0.15"),
    ],
    ids=["major", "own", "both", "library", "more", "cut", "text", "class"],
)
def test_whatever_else_differs_in_a_module_is_code(published: bytes, rebuilt: bytes) -> None:
    assert jars({"module-info.class": published}, {"module-info.class": rebuilt}).causes == ("class-code",)


MIXED = "say=Übung, naïve, 1€\n"


@pytest.mark.parametrize(
    ("published", "rebuilt"),
    [
        (MIXED.encode(), MIXED.encode("windows-1252")),
        ("say=Übung\n".encode("iso-8859-1"), "say=Übung\n".encode()),
        (MIXED.encode(), MIXED.encode().decode("windows-1252").encode()),  # read in one, written in another
        (MIXED.encode(), MIXED.encode("ascii", "replace")),
        (MIXED.encode(), MIXED.encode().decode("ascii", "replace").encode()),
        (MIXED.encode().decode("ascii", "replace").encode("ascii", "replace"), MIXED.encode()),
    ],
    ids=["encoding", "latin-1", "twice", "lost", "unread", "published"],
)
def test_names_the_locale_by_what_became_of_letters(published: bytes, rebuilt: bytes) -> None:
    found = jars({"messages.properties": published}, {"messages.properties": rebuilt})
    assert found.causes == ("locale",)
    name, line = "META-INF/MANIFEST.MF", "Bundle-Vendor: Soci%st%s"
    one, other = ({name: manifest(line % (letter, letter))} for letter in ("é", "?"))
    assert jars(one, other).causes == ("locale",)


@pytest.mark.parametrize(
    ("published", "rebuilt"),
    [
        ("Übung 1\n".encode(), b"?bung 2\n"),
        (b"a?\n", b"a!\n"),
        ("é\n".encode(), "è\n".encode()),
        (b"x = 1,5\n", b"x = 1.5\n"),
        ("é\0".encode(), b"?\0"),
    ],
)
def test_other_letters_are_content_whatever_the_locale(published: bytes, rebuilt: bytes) -> None:
    assert jars({"a.txt": published}, {"a.txt": rebuilt}).causes == ("content",)


def test_an_innocent_cause_never_hides_other_code() -> None:
    found = jars(
        {"META-INF/MANIFEST.MF": manifest("Build-Jdk-Spec: 17"), "A.class": CLASS_17},
        {"META-INF/MANIFEST.MF": manifest("Build-Jdk-Spec: 21"), "A.class": CLASS_17 + b"!"},
    )
    assert found.causes == ("jdk-major", "class-code")
    assert found.summary[1] == "A.class: differs from byte 88, 88 != 89 bytes"


def test_names_line_ends() -> None:
    found = jars({"META-INF/x.properties": b"a=1\r\nb=2\r\n"}, {"META-INF/x.properties": b"a=1\nb=2\n"})
    assert found.causes == ("line-ends",)
    assert found.summary == ("META-INF/x.properties: line ends CRLF != LF",)


def test_line_ends_with_another_change_are_content() -> None:
    found = jars({"x.properties": b"a=1\r\nb=2\r\n"}, {"x.properties": b"a=1\nb=3\n"})
    assert found.causes == ("content",)


def test_names_timestamps_of_manifest_properties_and_entries() -> None:
    found = jars(
        {"META-INF/MANIFEST.MF": manifest("Bnd-LastModified: 1"), "p.properties": b"#Mon\na=1\n"},
        {"META-INF/MANIFEST.MF": manifest("Bnd-LastModified: 2"), "p.properties": b"#Tue\na=1\n"},
    )
    assert found.causes == ("timestamps",)
    assert "META-INF/MANIFEST.MF: Bnd-LastModified 1 != 2" in found.summary
    later = compare(zip_bytes({"a": b""}), zip_bytes({"a": b""}, time=(2025, 1, 1, 0, 0, 0)), "a.jar")
    assert later.summary == ("a: 2024-01-02T03:04:06 != 2025-01-01T00:00:00",)


def test_names_modes_compression_and_order() -> None:
    plain = {"a": b"1", "b": b"2"}
    assert compare(zip_bytes(plain), zip_bytes(plain, mode=0o100755), "a.jar").causes == ("modes",)
    stored = zip_bytes(plain, method=zipfile.ZIP_STORED)
    assert compare(zip_bytes(plain), stored, "a.jar").causes == ("compression",)
    assert jars(plain, {"b": b"2", "a": b"1"}).causes == ("entry-order",)


def with_modes(*modes: int) -> bytes:
    """A jar whose files have these modes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, mode in enumerate(modes):
            info = zipfile.ZipInfo(f"f{number}", (2024, 1, 2, 3, 4, 6))
            info.external_attr = mode << 16
            archive.writestr(info, b"")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("published", "rebuilt", "cause"),
    [
        ((0o100644, 0o100755, 0o40755), (0o100664, 0o100775, 0o40775), "umask"),  # 022, 002
        ((0o100600, 0o100700, 0o100444), (0o100644, 0o100755, 0o100444), "umask"),  # 077, 022
        ((0o100660, 0o100770), (0o100644, 0o100755), "umask"),  # 007, 022: neither is part of the other
        ((0o100644, 0o100755), (0o100664, 0o100777), "modes"),  # no one umask
        ((0o100644,), (0o100755,), "modes"),
        ((0o100644,), (0o104664,), "set-id"),
        ((0o100444,), (0o100440,), "modes"),  # nobody asks for such a mode
        ((0o100644, 0o100644), (0o100664, 0o100600), "modes"),
        ((0o100645,), (0o100644,), "modes"),
        ((0o100644,), (0,), "modes"),
    ],
)
def test_modes_that_two_umasks_explain_are_named_so_and_no_others(
    published: tuple[int, ...], rebuilt: tuple[int, ...], cause: str
) -> None:
    found = compare(with_modes(*published), with_modes(*rebuilt), "a.jar")
    assert found.causes == (cause,)


def test_names_missing_and_extra_entries() -> None:
    found = jars({"a": b"1", "module-info.class": CLASS_17}, {"a": b"1", "doc-files/x": b"y"})
    assert found.causes == ("missing-entries", "extra-entries")
    assert found.summary[0] == "module-info.class: is not in the rebuilt file"
    assert found.summary[1] == "doc-files/x: is only in the rebuilt file"


def test_names_manifest_lines_and_order() -> None:
    name = "META-INF/MANIFEST.MF"
    found = jars({name: manifest("A: 1", "B: 2")}, {name: manifest("B: 2", "A: 1")})
    assert found.causes == ("manifest-order",)
    found = jars({name: manifest("A: 1")}, {name: manifest("A: 2", "C: 3")})
    assert found.causes == ("manifest",)
    assert found.summary == (f"{name}: A 1 != 2", f"{name}: C (absent) != 3")


def test_same_entries_in_another_container_still_differ() -> None:
    data = zip_bytes({"a": b"1"})
    found = compare(data, zip_bytes({"a": b"1"}, extra=b"\xfe\xca\0\0"), "a.jar")
    assert (found.result, found.causes) == ("different", ("container",))
    found = compare(data, b"junk" + data, "a.jar")
    assert (found.result, found.causes) == ("different", ("content",))


def test_many_differences_are_summed_up() -> None:
    published = {f"p/C{number}.class": CLASS_17 for number in range(345)}
    rebuilt = {name: content + b"x" for name, content in published.items()}
    found = jars(published, rebuilt)
    assert found.count == 345
    assert found.summary == (
        "345 class files differ, first p/C0.class: differs from byte 88, 88 != 89 bytes",
    )


def test_summary_stays_small_whatever_the_names() -> None:
    published = {"\x1b[31m" + "n" * 300 + str(number): b"a" for number in range(3)}
    found = jars(published, dict.fromkeys(published, b"b"))
    assert len(found.summary) <= MAX_SUMMARY_LINES
    assert all(len(line) <= 200 and line.isprintable() for line in found.summary)


@pytest.mark.parametrize("damaged", [b"", b"PK", b"not a zip", zip_bytes({"a": b"1"})[:-5]])
def test_what_is_no_archive_is_different_content(damaged: bytes) -> None:
    found = compare(zip_bytes({"a": b"1"}), damaged, "a.jar")
    assert found.result == "different"
    assert found.causes == ("content",)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zip_bytes({"zeros": bytes(64 * 1024 * 1024)})
    found = compare(bomb, zip_bytes({"zeros": b""}), "a.jar")
    assert found.result == "different"
    assert any("more than 200 times" in line for line in found.summary)


def test_report_is_canonical_and_complete() -> None:
    found = jars({"a": b"1", "b": b"2"}, {"a": b"x", "b": b"y"})
    report = parse_json(found.report, max_bytes=1 << 20)
    assert isinstance(report, dict)
    assert report["count"] == 2
    assert report["artifact"] == "a-1.0.jar"
    assert report["omitted"] == 0


def test_every_flipped_byte_of_a_jar_is_different_and_never_an_error() -> None:
    jar = zip_bytes(
        {"META-INF/MANIFEST.MF": manifest("Build-Jdk-Spec: 17"), "A.class": CLASS_17, "t.txt": b"a\n"}
    )
    for position in range(len(jar)):
        mutated = bytearray(jar)
        mutated[position] ^= 0x41
        found = compare(jar, bytes(mutated), "a.jar")
        assert found.result == "different"
        assert found.causes
        assert found.summary


def test_an_entry_too_long_to_be_held_is_compared_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two entries of two gigabytes, each copied to look for line ends, took the supervisor's memory."""
    monkeypatch.setattr("touchplate.builder.comparison.compare.MAX_DETAILED_BYTES", 600_000)
    before, after = b"x" * 700_001, b"x" * 650_000 + b"y" + b"x" * 50_000
    assert jars({"a": before}, {"a": after}).summary == ("a: differs from byte 650000",)
    assert jars({"a": before}, {"a": before[:-1]}).summary == ("a: differs from byte 700000",)
    one_more = jars({"a": before}, {"a": before, "b": b""})
    assert one_more.causes == ("extra-entries",)


def test_a_long_file_is_not_searched_for_its_line_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("touchplate.builder.comparison.contents.MAX_DETAILED_BYTES", 10)
    found = compare(b"a\r\nb\r\nc\r\nd\r\n", b"a\nb\nc\nd\n", "a.txt")
    assert found.summary == ("a.txt: differs from byte 1, 12 != 8 bytes",)


@pytest.mark.parametrize(
    ("before", "after", "cause", "said"),
    [
        ("a\nb\nc\n", "a\nc\n", "content", "b != (absent)"),
        ("a\nc\n", "a\nb\nc\n", "content", "(absent) != b"),
        ("a\nb\nc\n", "a\nx\nc\n", "content", "b != x"),
        ("#Mon\na=1\n", "#Tue\na=1\n", "timestamps", "#Mon != #Tue"),
        ("#Mon\na=1\n", "a=1\n", "timestamps", "#Mon != (absent)"),
        ("#Mon\na=1\n#b\n", "#Tue\na=2\n#b\n", "content", "#Mon != #Tue"),
        ("#Mon\na=1\n", "#Tue\na=1\nb=2\n", "content", "#Mon != #Tue"),
    ],
)
def test_the_first_line_that_differs_is_named(before: str, after: str, cause: str, said: str) -> None:
    found = jars({"x.properties": before.encode()}, {"x.properties": after.encode()})
    assert (found.causes, found.summary) == ((cause,), (f"x.properties: {said}",))
