"""A definition as it is understood: every default written out, in one order."""

from touchplate.builder.definitions.definition import MOST, VERSION, Definition
from touchplate.verify.jcs import JSONValue


def normalise_definition(definition: Definition) -> dict[str, JSONValue]:
    """The document that says all that `definition` says, and nothing less: parsed again it means the same.

    Its digest is not the definition's, which is over the bytes that were saved.
    """
    details = definition.ecosystem.format_details(definition)
    common: dict[str, JSONValue] = {}
    form = definition.ecosystem.form
    if "command" in (*form.required, *form.optional):
        common["command"] = list(definition.command)
    if "environment" not in form.unused:
        common["environment"] = dict(sorted(definition.environment.items()))
    common["umask"] = f"{definition.umask:03o}"
    if definition.upstreams:
        common["upstreams"] = list(definition.upstreams)
    if definition.allow_metadata:
        common["allow_metadata"] = True
    demands = {"backend": definition.sandbox.backend, "needs": list(definition.sandbox.needs)}
    if demanded := {name: value for name, value in demands.items() if value}:
        common["sandbox"] = demanded
    if definition.root:
        common["root"] = {"lock": definition.root}
    limits = {name: int(getattr(definition.limits, name)) for name in MOST}
    return {
        "version": VERSION,
        "name": definition.name,
        "package": str(definition.package),
        "source": {
            "kind": definition.source.kind,
            "files": [
                {"uri": file.uri, "sha256": file.sha256}
                | ({"commit": file.commit} if file.commit else {"size": file.size})
                for file in definition.source.files
            ],
        },
        **details,
        **common,
        "limits": dict(limits),
        "outputs": [{"path": one.path, "package": str(one.package)} for one in definition.outputs],
    }
