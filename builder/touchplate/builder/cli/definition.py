"""`touchplate definition`: check, infer, show and begin the definitions that an operator owns, and pack what
an image's needs."""

import argparse
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from touchplate.base.progress import open_progress
from touchplate.builder.cli.workshop import add_workshop_options, infer_typed, opened_workshop, typed_package
from touchplate.builder.definitions.definition import Definition, parse_definition
from touchplate.builder.definitions.folder import (
    CheckedFile,
    check_definition_of,
    check_file,
    check_folder,
    save_definition,
)
from touchplate.builder.definitions.json_schema import format_schema
from touchplate.builder.definitions.normalise import normalise_definition
from touchplate.builder.definitions.template import FILL_IN
from touchplate.builder.definitions.yaml_writer import format_yaml
from touchplate.builder.ecosystems.oci.packing import pack_context
from touchplate.builder.ecosystems.registry import find_ecosystem
from touchplate.builder.plan import Limits
from touchplate.verify.jcs import JSONValue
from touchplate.verify.output import print_json, print_line, print_note, print_text
from touchplate.verify.usage import OK, REFUSED, UsageError


def register(parser: argparse.ArgumentParser) -> None:
    """Add the commands of `touchplate definition`."""
    commands = parser.add_subparsers(dest="definition_command", required=True, metavar="COMMAND")
    checker = _command(commands, "check", "name every mistake of definitions")
    checker.add_argument("paths", nargs="+", type=Path, metavar="FILE|FOLDER", help="a folder: all in it")
    checker.add_argument(
        "--folder", type=Path, metavar="DIR", help="FILEs stand in this folder of definitions"
    )
    inferrer = _command(commands, "infer", "find out how a package was built, and say why")
    inferrer.add_argument(
        "package",
        metavar="PURL",
        help="pkg:maven/GROUP/ARTIFACT@VERSION, or pkg:conan/… as the remote lists it",
    )
    inferrer.add_argument("--save", type=Path, metavar="FOLDER", help="write it to its place in this folder")
    shower = _command(commands, "show", "what would be run, every default written out")
    shower.add_argument(
        "what", metavar="PURL|FILE", help="a package (inferred, or in --folder) or a definition"
    )
    shower.add_argument(
        "--folder", type=Path, metavar="DIR", help="the definition that this folder has of PURL"
    )
    for one in (inferrer, shower):
        add_workshop_options(one)
    starter = _command(commands, "new", "a commented definition to complete")
    starter.add_argument("package", metavar="PURL", help="the package file that is to be rebuilt")
    starter.add_argument("--save", type=Path, metavar="FOLDER", help="write it to its place in this folder")
    packer = _command(commands, "context", "pack a folder as the source of an image")
    packer.add_argument("folder", type=Path, metavar="FOLDER", help="Containerfile and context")
    packer.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="a new tar archive: the same on any machine"
    )
    _command(commands, "schema", "the JSON Schema of definitions")


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do it. 0; 1 when a definition has mistakes; 2 when it cannot be told here."""
    run_command = {
        "check": _check,
        "infer": _infer,
        "show": _show,
        "new": _new,
        "context": _pack,
        "schema": _schema,
    }
    return run_command[args.definition_command](args)


def _check(args: argparse.Namespace) -> int:
    checked: list[CheckedFile] = []
    # One file is read in no time; a folder may hold thousands.
    with open_progress(quiet=args.quiet or not any(path.is_dir() for path in args.paths)) as display:
        task = display.task("definitions")
        for path in args.paths:
            if path.is_dir():
                checked += check_folder(path, task.advance)
            else:
                checked.append(check_file(path, _place(path, args.folder)))
                task.advance()
        task.finish()
    return _report(args, checked)


def _place(path: Path, folder: Path | None) -> PurePosixPath | None:
    if folder is None:
        return None
    try:
        return PurePosixPath(path.absolute().relative_to(folder.absolute()))
    except ValueError:
        raise UsageError(f"{str(path)!r} does not stand in --folder {str(folder)!r}") from None


def _report(args: argparse.Namespace, checked: Sequence[CheckedFile]) -> int:
    mistakes = sum(len(one.mistakes) for one in checked)
    if args.json:
        print_json({"files": [_checked_json(one) for one in checked], "mistakes": mistakes})
    else:
        for one in checked:
            for mistake in one.mistakes:
                where = f"{mistake.path}: " if mistake.path else ""
                print_line(f"{one.path}:{mistake.line}:{mistake.column}: {where}{mistake.text}")
        bad = sum(bool(one.mistakes) for one in checked)
        said = f"{_counted(mistakes, 'mistake')} in {bad} of them" if bad else "no mistakes"
        print_line(f"{_counted(len(checked), 'definition')}, {said}")
    return REFUSED if mistakes else OK


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _checked_json(one: CheckedFile) -> dict[str, JSONValue]:
    definition = one.definition
    return {
        "path": str(one.path),
        "package": str(definition.package) if definition else None,
        "sha256": definition.sha256 if definition else None,
        "mistakes": [
            {"line": each.line, "column": each.column, "path": each.path, "text": each.text}
            for each in one.mistakes
        ],
    }


def _infer(args: argparse.Namespace) -> int:
    with opened_workshop(args) as workshop:
        inference = infer_typed(args, workshop, args.package)
    value = normalise_definition(inference.definition)
    if inference.definition.limits == Limits():
        del value["limits"]  # nothing that was inferred
    head = [f"Inferred from what was published with {inference.definition.package}."]
    data = format_yaml(value, inference.reasons, head)
    definition = parse_definition(data)
    saved = save_definition(args.save, definition.package, data) if args.save is not None else None
    if args.json:
        shown: dict[str, JSONValue] = {
            "package": str(definition.package),
            "sha256": definition.sha256,
            "definition": value,
        }
        more: dict[str, JSONValue] = {
            "reasons": dict(inference.reasons),
            "saved": str(saved) if saved else None,
        }
        print_json({**shown, **more})
    else:
        print_text(data.decode())
    if saved is not None:
        print_note(f"saved: {saved}")
    return OK


def _show(args: argparse.Namespace) -> int:
    one = _found(args)
    if one.definition is None:
        return _report(args, [one])
    definition, value = one.definition, normalise_definition(one.definition)
    if args.json:
        print_json({"from": str(one.path), "sha256": definition.sha256, "definition": value})
        return OK
    head = [str(one.path), f"sha256 {definition.sha256}: over the definition's own bytes, as it is attested"]
    print_text(format_yaml(value, _shown_reasons(definition), head).decode())
    return OK


def _found(args: argparse.Namespace) -> CheckedFile:
    """The definition that is meant; its path says where it comes from."""
    if not args.what.startswith("pkg:"):
        if args.folder is not None:
            raise UsageError("--folder is for a PURL: a FILE is shown as it is")
        return check_file(Path(args.what))
    if args.folder is not None:
        return check_definition_of(args.folder, typed_package(args.what))
    with opened_workshop(args) as workshop:
        return CheckedFile(Path("inferred"), infer_typed(args, workshop, args.what).definition)


def _shown_reasons(definition: Definition) -> dict[str, str]:
    made = "command" not in definition.ecosystem.form.required
    return (
        {"source": f"the command is made by touchplate: build type {definition.ecosystem.name}"}
        if made
        else {}
    )


def _new(args: argparse.Namespace) -> int:
    package = typed_package(args.package)
    text = find_ecosystem(package.ecosystem).make_template(package)
    head = f"# Fill in each {FILL_IN}, then: touchplate definition check FILE\n"
    data = (head + text).encode()
    saved = save_definition(args.save, package, data) if args.save is not None else None
    if args.json:
        print_json(
            {"package": str(package), "template": data.decode(), "saved": str(saved) if saved else None}
        )
    elif saved is None:
        print_text(data.decode())
    else:
        print_line(f"saved: {saved}")
    return OK


def _pack(args: argparse.Namespace) -> int:
    packed = pack_context(args.folder, args.out)
    if args.json:
        print_json({"path": str(args.out), "sha256": packed.sha256, "size": packed.size})
    else:
        print_line(f"sha256  {packed.sha256}")
        print_line(f"size    {packed.size}")
    return OK


def _schema(args: argparse.Namespace) -> int:
    print_text(format_schema())
    return OK
