"""Links of rebuilderd: what other people's rebuilders say of a file, as classic in-toto links (Metablocks).

    0  the trust file parses, and holds no mistake                         trust.parse_trust
    1  the link has the one form that rebuilderd gives a GOOD              parse_link
    2  a key listed as [[rebuilderd]] signed it                            check_link
    3  its product is this file                                            check_link

A link says that somebody built the very bytes of this file from an input. It names no source, no tools and no
sandbox, and no log holds it: so it counts for no level, and is shown beside them.
"""

import re
from collections.abc import Iterable, Mapping

from touchplate.verify.encoding import decode_hex
from touchplate.verify.errors import MalformedError, RefusedError, SignatureError, shown
from touchplate.verify.fields import take_digests, take_list, take_map, take_object, take_text
from touchplate.verify.files import FileDigests
from touchplate.verify.jcs import JSON, format_json, parse_json
from touchplate.verify.keys import ED25519_SIGNATURE_BYTES
from touchplate.verify.steps import at_step
from touchplate.verify.trust import TrustedKey, TrustFile
from touchplate.verify.values import value

MAX_LINK_BYTES = 64 * 1024
"""Bytes of a link: rebuilderd's have 1.5 KiB with two signatures."""

MAX_SIGNATURES = 16
"""Signatures of a link: rebuilderd makes two, the worker's and the daemon's. Each is tried with each key."""

_SIGNED = ("_type", "name", "materials", "products", "environment", "byproducts", "command")
_DIGESTS = frozenset({"sha256", "sha512"})
# In this range in-toto's canonical JSON and RFC 8785 are the same bytes: nothing needs an escape. No slash; a
# name begins with a letter or a digit (so it is neither `..` nor an option) and does not end with a space.
_PLAIN = r"[0-9A-Za-z](?:[ !#-.0-\[\]-~]*[!#-.0-\[\]-~])?"


@value
class Link:
    """A link as rebuilderd makes one for a GOOD.

    `product`: the file's name; `materials`: digests by name of what it was built from; `signed`: the bytes
    under the signatures.
    """

    product: str
    digests: Mapping[str, str]
    materials: Mapping[str, Mapping[str, str]]
    signed: bytes
    signatures: tuple[bytes, ...]

    @property
    def is_own_input(self) -> bool:
        """Whether the file itself is the input: then it was at hand while it was rebuilt."""
        return any(each["sha256"] == self.digests["sha256"] for each in self.materials.values())


@value
class CheckedLink:
    """A link about the file, and the listed keys that signed it: each once, however often it signed."""

    link: Link
    signers: tuple[TrustedKey, ...]

    @property
    def operators(self) -> tuple[str, ...]:
        """Whose keys these are, each once, sorted: a worker's and its daemon's key are one operator's."""
        return tuple(sorted({key.operator for key in self.signers}))


def parse_link(data: bytes) -> Link:
    """The link in `data`. Raises MalformedError for every other form, also where in-toto allows more.

    A link with a command, an environment or other products is none of rebuilderd's: nobody here knows what it
    means.
    """
    outer = take_object(parse_json(data, max_bytes=MAX_LINK_BYTES), "link", ("signatures", "signed"))
    signed = take_object(outer["signed"], "signed", _SIGNED)
    if signed["_type"] != "link":
        raise MalformedError(f"signed is of type {shown(signed['_type'])}, and no link")
    for name, empty in (("environment", (None, {})), ("byproducts", ({},)), ("command", ([],))):
        if signed[name] not in empty:
            raise MalformedError(
                f"{name} of the link is not empty, as rebuilderd leaves it: {shown(signed[name])}"
            )
    products = _take_files(signed["products"], "products")
    if len(products) != 1:
        raise MalformedError(f"a link of rebuilderd has one product, not {len(products)}")
    ((product, digests),) = products.items()
    if signed["name"] != f"rebuild {product}":
        raise MalformedError(f"the link is named {shown(signed['name'])}, and its product {shown(product)}")
    materials = _take_files(signed["materials"], "materials")
    if not materials:
        raise MalformedError("the link names no input")
    signatures = take_list(outer["signatures"], "signatures", least=1, most=MAX_SIGNATURES)
    return Link(
        product=product,
        digests=digests,
        materials=materials,
        signed=format_json(signed),
        signatures=tuple(
            _take_signature(each, f"signature {number}") for number, each in enumerate(signatures)
        ),
    )


def check_link(data: bytes, file: FileDigests, trust: TrustFile) -> CheckedLink:
    """Steps 1 to 3; step 0 made `trust`. Raises RefusedError."""
    with at_step(1):
        link = parse_link(data)
    listed = [block for block in trust.keys if block.kind == "rebuilderd"]
    if not listed:
        raise RefusedError(2, "no-rebuilderd", "the trust file lists no [[rebuilderd]]")
    signers = tuple(block for block in listed if _has_signed(block, link))
    if not signers:
        raise RefusedError(
            2, "unknown-key", f"none of the {len(listed)} keys of the trust file's [[rebuilderd]] signed it"
        )
    if link.digests["sha256"] != file.sha256:
        raise RefusedError(
            3, "wrong-artifact", f"it speaks of other bytes ({link.digests['sha256']}), not of {file.sha256}"
        )
    if differing := file.differing(link.digests):
        raise RefusedError(3, "wrong-digest", f"its sha256 is right, its {', '.join(differing)} is not")
    return CheckedLink(link, signers)


def agreeing_operators(links: Iterable[CheckedLink]) -> tuple[str, ...]:
    """The operators who signed at least one of the links, each once, sorted."""
    return tuple(sorted({operator for each in links for operator in each.operators}))


def _has_signed(block: TrustedKey, link: Link) -> bool:
    """Whether a signature is this key's. The keyid beside it is a hint that nothing signs: not looked at."""
    for signature in link.signatures:
        try:
            block.key.verify(signature, link.signed)
        except SignatureError:
            continue
        return True
    return False


def _take_files(value: JSON, what: str) -> dict[str, dict[str, str]]:
    files: dict[str, dict[str, str]] = {}
    for name, digest in take_map(value, what).items():
        if re.fullmatch(_PLAIN, name) is None:
            raise MalformedError(f"{what} name {shown(name)}, which is no plain file name")
        files[name] = take_digests(digest, f"{what} {name}")
        if files[name].keys() != _DIGESTS:
            raise MalformedError(f"{what} {name} has {', '.join(sorted(files[name]))}, not sha256 and sha512")
    return files


def _take_signature(value: JSON, what: str) -> bytes:
    members = take_object(value, what, ("keyid", "sig"))
    take_text(members["keyid"], f"{what} keyid")
    return decode_hex(take_text(members["sig"], f"{what} sig"), ED25519_SIGNATURE_BYTES, what)
