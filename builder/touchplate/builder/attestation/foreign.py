"""What in-toto's official bindings make of a statement: nobody signs what others cannot read."""

from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.predicates.vsa.v1 import vsa_pb2
from in_toto_attestation.v1 import resource_descriptor_pb2, statement_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement as ForeignStatement

from touchplate.builder.errors import AttestError
from touchplate.verify.jcs import JSON, parse_json
from touchplate.verify.predicates.provenance import PROVENANCE_TYPE
from touchplate.verify.predicates.summary import SUMMARY_TYPE

MAX_PAYLOAD_BYTES = 48 * 1024
"""Base64 of it must fit an envelope of 64 KiB; ours stay under 10 kB."""


def check_foreign(payload: bytes) -> None:
    """Have in-toto's official bindings read a payload. Raises AttestError with what they say."""
    try:
        foreign = json_format.Parse(payload, statement_pb2.Statement())
        ForeignStatement.copy_from_pb(foreign).validate()
        if foreign.predicate_type == PROVENANCE_TYPE:
            _check_provenance(_predicate(payload))
        elif foreign.predicate_type == SUMMARY_TYPE:
            _check_summary(_predicate(payload))
    except (json_format.Error, ValueError, TypeError) as error:
        raise AttestError(f"in-toto's bindings refuse the statement: {error}") from error


def _predicate(payload: bytes) -> dict[str, JSON]:
    # From our own JSON: in the statement, protobuf has turned every number of the predicate into a float.
    value = parse_json(payload, max_bytes=MAX_PAYLOAD_BYTES)
    assert isinstance(value, dict)
    predicate = value["predicate"]
    assert isinstance(predicate, dict)
    return predicate


def _check_provenance(predicate: dict[str, JSON]) -> None:
    provenance = provenance_pb2.Provenance()
    json_format.ParseDict(predicate, provenance)
    described = [*provenance.build_definition.resolved_dependencies, *provenance.run_details.byproducts]
    for descriptor in described:
        ResourceDescriptor.copy_from_pb(descriptor).validate()
    if not (provenance.build_definition.build_type and provenance.run_details.builder.id):
        raise AttestError("in-toto's bindings find no build type or no builder id")


def _check_summary(predicate: dict[str, JSON]) -> None:
    """A verification summary, as far as the bindings know it.

    Theirs is of SLSA 1.0: a verifier without versions, a policy and inputs with uri and digest only, and (of
    in-toto-attestation 0.9.3 for Python, not of those for Go) one level as a text where the specification has
    a list. So these fields are read apart: levels one by one, policy and inputs as resource descriptors.
    """
    levels, policy, inputs = predicate["verifiedLevels"], predicate["policy"], predicate["inputAttestations"]
    verifier = predicate["verifier"]
    assert isinstance(levels, list)
    assert isinstance(policy, dict)
    assert isinstance(inputs, list)
    assert isinstance(verifier, dict)
    for described in (policy, *inputs):
        assert isinstance(described, dict)
        descriptor = json_format.ParseDict(described, resource_descriptor_pb2.ResourceDescriptor())
        ResourceDescriptor.copy_from_pb(descriptor).validate()
    known = {
        **predicate,
        "verifier": _without(verifier, "version"),
        "policy": _without(policy, "annotations"),
        "inputAttestations": [_without(each, "name") for each in inputs if isinstance(each, dict)],
    }
    for level in levels:
        summary = vsa_pb2.VerificationSummary()
        json_format.ParseDict({**known, "verifiedLevels": level}, summary)
        if not (
            summary.verifier.id and summary.resource_uri and summary.policy.uri and summary.verified_levels
        ):
            raise AttestError("in-toto's bindings find no verifier, resource, policy or level")


def _without(members: dict[str, JSON], name: str) -> dict[str, JSON]:
    return {key: value for key, value in members.items() if key != name}
