"""What a configuration points at: keys, lists, rules. All of it is read, and every mistake told at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from touchplate.api.errors import SettingsError
from touchplate.api.gate import Gate, Rule
from touchplate.base.errors import ConfigError, TouchplateError
from touchplate.base.upstreams import resolve_upstream
from touchplate.log.cosigning.config import load_policy
from touchplate.log.raw.config import check_raw_files
from touchplate.log.trillian.config import check_files as check_trillian
from touchplate.log.trillian.store.config import read_credentials
from touchplate.log.witness.config import load_signers
from touchplate.node.config import NodeConfig, RecorderSection, RuleSection
from touchplate.verify.errors import VerifyError
from touchplate.verify.keys import StatementSigner, load_signer
from touchplate.verify.notes import parse_signer_key
from touchplate.verify.trust import AdmissionList, TrustFile, load_admission, load_trust

T = TypeVar("T")


@dataclass(frozen=True)
class Checked:
    """The parts of a configuration that stand in other files, read and found right."""

    trust: TrustFile
    gate: Gate
    recorder: StatementSigner | None
    urls: tuple[str, ...]  # of the upstreams, in their order


def check_files(config: NodeConfig) -> Checked:
    """Read what `config` points at; nothing is opened for writing. Raises ConfigError with all mistakes."""
    notes = _Notes()
    trust = notes.read("gate.trust", lambda: load_trust(config.gate.trust))
    admission = notes.read("log.admission", lambda: load_admission(config.log.admission))
    notes.read("log.key", lambda: parse_signer_key(config.log.key.resolve()))
    if (asked := config.log.witness) is not None:
        notes.read(
            "log.witness.policy",
            lambda: load_policy(asked, parse_signer_key(config.log.key.resolve()).key),
        )
    if (retiring := config.log.retiring) is not None:
        notes.read("log.retiring.key", lambda: parse_signer_key(retiring.key.resolve()))
    if (password := config.log.storage_password) is not None:
        notes.read("log.storage_password", password.resolve)
    if (peers := config.log.peers) is not None:
        notes.read("log.peers.cosigner", lambda: parse_signer_key(peers.cosigner.resolve()))
    if (trillian := config.log.trillian) is not None:
        notes.read("log.trillian", lambda: check_trillian(trillian))
    notes.read("log.raw", lambda: check_raw_files(config.log.raw))
    if (store := config.log.trillian_store) is not None:
        notes.read("log.trillian_store", lambda: read_credentials(store))
    if (witness := config.witness) is not None:
        notes.read("witness.keys", lambda: load_signers(witness))
    if config.evidence is not None:
        notes.read("evidence.token", config.evidence.token.resolve)
    signer = None
    if (section := config.recorder) is not None:
        signer = notes.read("recorder.key", lambda: _signer(section))
        if signer is not None:
            recorded = {upstream.ecosystem for upstream in config.upstream if upstream.record}
            # The peers' list changes while they run: the file is only what they began with.
            listed = admission if config.log.mode == "solo" else None
            for ecosystem in sorted(recorded or {"maven"}):
                notes.mistakes += _strangers(section, signer, trust, listed, ecosystem=ecosystem)
    gate = None
    if trust is not None:
        rules, reproduced = [make_rule(rule) for rule in config.gate.rule], trust.reproduced
        gate = notes.read("gate", lambda: Gate(rules, reproduced))
    urls = []
    for number, upstream in enumerate(config.upstream):
        found = notes.read(f"upstream[{number}]", lambda one=upstream.upstream: resolve_upstream(one).url)  # type: ignore[misc]
        urls.append(found or "")
        if (secret := upstream.credentials) is not None:
            notes.read(f"upstream[{number}].credentials", secret.resolve)
    if notes.mistakes or trust is None or gate is None:
        raise ConfigError("configuration", tuple(notes.mistakes))
    return Checked(trust, gate, signer, tuple(urls))


def make_rule(section: RuleSection) -> Rule:
    """The gate's rule that a section of the configuration describes."""
    return Rule(
        need=section.need,
        enforce=section.enforce,
        ecosystem=section.ecosystem,
        repository=section.repository,
        package=section.package,
        minimum_age=section.minimum_age,
        operators=section.operators,
    )


class _Notes:
    def __init__(self) -> None:
        self.mistakes: list[str] = []

    def read(self, where: str, call: Callable[[], T]) -> T | None:
        """The result of `call`, or None and a note. Texts of these errors never hold a secret."""
        try:
            return call()
        except ConfigError as error:
            self.mistakes += [f"{where}: {error.where}: {mistake}" for mistake in error.mistakes]
        except (SettingsError, TouchplateError, VerifyError) as error:
            self.mistakes.append(f"{where}: {error}")
        except OSError as error:
            self.mistakes.append(f"{where}: {error.filename}: {error.strerror}")
        return None


def _signer(section: RecorderSection) -> StatementSigner:
    password = section.password.resolve().encode() if section.password else None
    return load_signer(section.key.resolve().encode(), password)


def _strangers(
    section: RecorderSection,
    signer: StatementSigner,
    trust: TrustFile | None,
    admission: AdmissionList | None,
    *,
    ecosystem: str,
) -> list[str]:
    """The recorder's key must be admitted by the log and trusted by the gate: else nothing would pass."""
    found = []
    spki = signer.key.spki
    for where, listed in (("gate.trust", trust), ("log.admission", admission)):
        if listed is not None and not any(
            block.kind == "recorder" and block.operator == section.operator and ecosystem in block.ecosystems
            for block in listed.find(spki)
        ):
            found.append(
                f"{where}: no [[recorder]] block has the key of [recorder], the operator "
                f"{section.operator!r} and the ecosystem {ecosystem!r}"
            )
    return found
