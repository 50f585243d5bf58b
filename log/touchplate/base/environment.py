"""The only reader of the process environment.

Settings come from one TOML file. What stands here are the few variables that the machine sets for every
program: proxies, certificate authorities, the search path, and whether this is continuous integration.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

# Read in this order; the first that is set wins. The first two are OpenSSL's own names.
CA_FILE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
CA_FOLDER_VARIABLE = "SSL_CERT_DIR"


@dataclass(frozen=True)
class Setting:
    """A value taken from the environment and the variable it came from, so that it can be reported."""

    variable: str
    value: str


@dataclass(frozen=True)
class Environment:
    """The variables of a process, as they were when it started. `read_environment` makes the real one."""

    variables: Mapping[str, str] = field(repr=False)

    def value(self, name: str) -> str | None:
        """The value of a variable; None when it is absent or empty."""
        return self.variables.get(name) or None

    def proxy(self, scheme: str) -> Setting | None:
        """The proxy for URLs of `scheme` ("http" or "https"), by the customary variables, lower case first.

        Upper-case HTTP_PROXY is ignored under CGI (REQUEST_METHOD is set), where a client's header would fill
        it.
        """
        for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY"):
            if name == "HTTP_PROXY" and "REQUEST_METHOD" in self.variables:
                continue
            if value := self.value(name):
                return Setting(name, value)
        return None

    @property
    def no_proxy(self) -> tuple[str, ...]:
        """Host names, suffixes, addresses and networks that are reached without a proxy; `*` means all."""
        text = self.value("no_proxy") or self.value("NO_PROXY") or ""
        return tuple(part.strip().lower() for part in text.split(",") if part.strip())

    @property
    def ca_file(self) -> Setting | None:
        """The file of trusted certificate authorities that replaces the system's."""
        for name in CA_FILE_VARIABLES:
            if value := self.value(name):
                return Setting(name, value)
        return None

    @property
    def ca_folder(self) -> Setting | None:
        """The hashed folder of trusted certificate authorities that replaces the system's."""
        value = self.value(CA_FOLDER_VARIABLE)
        return Setting(CA_FOLDER_VARIABLE, value) if value else None

    @property
    def is_ci(self) -> bool:
        """True under continuous integration (`CI=true`): a missing tool is then a failure, not a skip."""
        return (self.value("CI") or "").lower() in {"1", "true"}

    @property
    def home(self) -> Path | None:
        """The user's home folder ($HOME); None when there is none, as for many system services."""
        value = self.value("HOME")
        return Path(value) if value else None

    @property
    def cache_folder(self) -> Path | None:
        """Where this user's programs keep what can be fetched or made again (XDG base directories)."""
        if value := self.value("XDG_CACHE_HOME"):
            return Path(value)
        return self.home / ".cache" if self.home else None

    def find_program(self, name: str) -> Path | None:
        """The program of this name on $PATH, not resolved; None when there is none."""
        found = shutil.which(name, path=self.variables.get("PATH", os.defpath))
        return Path(found) if found else None


def read_environment() -> Environment:
    """The environment of this process, copied: later changes to the process do not show."""
    return Environment(MappingProxyType(dict(os.environ)))
