"""The profile and the other settings that a rebuild shows to Conan: all of them ours, and complete.

What a profile does not say Conan would find out on the host, so it says everything: what `conaninfo.txt` of
the published package says, and for settings that the recipe takes away the values of `DEFAULTS`.
"""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from touchplate.builder.ecosystems.conan.conaninfo import PackageInfo
from touchplate.builder.errors import DefinitionError, HostLack

MACHINES = {"x86_64": "x86_64", "aarch64": "armv8"}
"""The kernel's word for a machine → Conan's setting `arch`."""


@dataclass(frozen=True)
class RequiredLines:
    """What a profile says in addition about a package that requires others.

    `own`: its reference; `settings` and `options`: lines that say what the others were built for.
    """

    own: str
    settings: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


_GCC_GNU17 = 11  # the first gcc whose default is C++17


def complete_settings(info: PackageInfo, find_gcc: Callable[[], int]) -> dict[str, str]:
    """The settings of the profile: those of the package, and for what its recipe takes away the usual ones.

    `find_gcc`: gives the major version of this host's, where the package does not say. Raises DefinitionError
    for a compiler that is not supported, HostLack for a package of another machine or system.
    """
    own = dict(info.settings)
    compiler = own.get("compiler", "gcc")
    if compiler != "gcc":
        raise DefinitionError(f"built with {compiler}; only packages built with gcc can be rebuilt yet")
    here = {"os": "Linux", "arch": host_arch()}
    for name, value in here.items():
        if own.get(name, value) != value:
            raise HostLack(
                f"the package is for {name} {own[name]}, and this host is {value}", reason="machine"
            )
    major = (own.get("compiler.version") or str(find_gcc())).partition(".")[0]
    if not major.isdecimal():
        raise DefinitionError(f"compiler.version {major!r} is no version of gcc")
    standard = "gnu17" if int(major) >= _GCC_GNU17 else "gnu14"
    usual = {
        **here,
        "build_type": "Release",
        "compiler": "gcc",
        "compiler.cppstd": standard,
        "compiler.libcxx": "libstdc++11",
        "compiler.version": major,
    }
    return {**usual, **own}


def host_arch() -> str:
    """Conan's word for this machine. Raises HostLack for one that it has none for here."""
    machine = platform.machine()
    if machine not in MACHINES:
        raise HostLack(f"packages for the machine {machine} cannot be rebuilt yet", reason="machine")
    return MACHINES[machine]


def format_profile(
    name: str,
    settings: Mapping[str, str],
    options: Mapping[str, str],
    compilers: Mapping[str, str],
    required: RequiredLines | None = None,
) -> bytes:
    """The profile's text. `name`: of the recipe; `compilers`: language → program, when not the default."""
    lines = ["[settings]", *(f"{key}={settings[key]}" for key in sorted(settings))]
    lines += required.settings if required else ()
    lines += ["[options]", *(f"{name}/*:{key}={options[key]}" for key in sorted(options))]
    lines += required.options if required else ()
    if compilers or required:
        lines.append("[conf]")
    if required:
        # What requirements were built and tested with was needed where that was done.
        lines += [f"!{required.own}:tools.graph:skip_{what}=True" for what in ("build", "test")]
    if compilers:
        lines.append(f"tools.build:compiler_executables={dict(sorted(compilers.items()))!r}")
        lines += ["[buildenv]", f"CC={compilers['c']}", f"CXX={compilers['cpp']}"]
    return "\n".join([*lines, ""]).encode()


def format_global_conf(sources: str) -> bytes:
    """`global.conf`. `sources`: the folder in which Conan finds what it would download."""
    settings = {
        "core:non_interactive": "True",
        "core:skip_warnings": "[]",
        "core.download:retry": "0",
        "core.sources:download_cache": sources,
        "tools.files.download:retry": "0",
        # Nothing of the host but what is shown: a recipe that wants system packages has to say so by failing.
        "tools.system.package_manager:mode": "check",
    }
    return "".join(f"{key} = {value}\n" for key, value in sorted(settings.items())).encode()
