"""The C and C++ libraries of `make rebuild-sample`: where Debian has their sources, and recipes for them.

Sources are the upstream's own archives, as Debian ships them beside its changes, not repacked ones. Recipes
leave out what names the folder of whoever builds (files for pkg-config and CMake), as is usual in Conan.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Library:
    """One library. `source`: Debian's source package, which has `tarball`."""

    name: str
    version: str
    source: str
    tarball: str
    sha256: str
    built: str
    """How it is built, for the table: build system, language, kind of library."""
    recipe: str
    requires: str = ""
    """Name of the library before it that it requires."""

    @property
    def reference(self) -> str:
        """As clients write it."""
        return f"{self.name}/{self.version}"

    @property
    def conandata(self) -> str:
        """The recipe's list of sources."""
        return (
            f'sources:\n  "{self.version}":\n    url: "https://sources.invalid/{self.tarball}"\n'
            f'    sha256: "{self.sha256}"\n'
        )


def cmake_recipe(
    name: str,
    version: str,
    language: str,
    *,
    shared: bool,
    variables: dict[str, bool],
    folder: str = ".",
    requires: str = "",
) -> str:
    """A recipe for CMake. `folder`: where in the source the CMakeLists.txt is; `requires`: a reference."""
    required = f'    requires = "{requires}"\n' if requires else ""
    settings = "".join(
        f'        toolchain.cache_variables["{key}"] = {value}\n' for key, value in variables.items()
    )
    return f'''
from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy, get, rmdir


class Library(ConanFile):
    name = "{name}"
    version = "{version}"
    settings = "os", "arch", "compiler", "build_type"
    options = {{"shared": [True, False], "fPIC": [True, False]}}
    default_options = {{"shared": {shared}, "fPIC": True}}
    languages = "{language}"
{required}
    def layout(self):
        cmake_layout(self, src_folder="src")

    def source(self):
        get(self, **self.conan_data["sources"][self.version], strip_root=True)

    def generate(self):
        toolchain = CMakeToolchain(self)
{settings}        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure(build_script_folder="{folder}")
        cmake.build()

    def package(self):
        for pattern in ("LICENSE*", "COPYING*"):
            copy(self, pattern, self.source_folder, self.package_folder + "/licenses")
        CMake(self).install()
        for name in ("lib/pkgconfig", "lib/cmake", "share"):
            rmdir(self, self.package_folder + "/" + name)
'''


AUTOTOOLS = """
from conan import ConanFile
from conan.tools.files import copy, get, rm, rmdir
from conan.tools.gnu import Autotools, AutotoolsToolchain
from conan.tools.layout import basic_layout


class Library(ConanFile):
    name = "libogg"
    version = "1.3.5"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "fPIC": [True, False]}
    default_options = {"shared": True, "fPIC": True}
    languages = "C"

    def layout(self):
        basic_layout(self, src_folder="src")

    def source(self):
        get(self, **self.conan_data["sources"][self.version], strip_root=True)

    def generate(self):
        AutotoolsToolchain(self).generate()

    def build(self):
        autotools = Autotools(self)
        autotools.configure()
        autotools.make()

    def package(self):
        copy(self, "COPYING", self.source_folder, self.package_folder + "/licenses")
        Autotools(self).install()
        rm(self, "*.la", self.package_folder + "/lib")
        rmdir(self, self.package_folder + "/lib/pkgconfig")
        rmdir(self, self.package_folder + "/share")
"""

MAKE = """
from conan import ConanFile
from conan.tools.files import chdir, copy, get
from conan.tools.gnu import Autotools, AutotoolsToolchain
from conan.tools.layout import basic_layout


class Library(ConanFile):
    name = "xxhash"
    version = "0.8.1"
    settings = "os", "arch", "compiler", "build_type"
    languages = "C"

    def layout(self):
        basic_layout(self, src_folder="src")

    def source(self):
        get(self, **self.conan_data["sources"][self.version], strip_root=True)

    def generate(self):
        AutotoolsToolchain(self).generate()

    def build(self):
        with chdir(self, self.source_folder):
            Autotools(self).make(target="libxxhash.a")

    def package(self):
        copy(self, "LICENSE", self.source_folder, self.package_folder + "/licenses")
        copy(self, "xxhash.h", self.source_folder, self.package_folder + "/include")
        copy(self, "libxxhash.a", self.source_folder, self.package_folder + "/lib")
"""

HEADERS = """
from conan import ConanFile
from conan.tools.files import copy, get
from conan.tools.layout import basic_layout


class Library(ConanFile):
    name = "nlohmann_json"
    version = "3.11.2"
    package_type = "header-library"

    def layout(self):
        basic_layout(self, src_folder="src")

    def source(self):
        get(self, **self.conan_data["sources"][self.version], strip_root=True)

    def package(self):
        copy(self, "LICENSE*", self.source_folder, self.package_folder + "/licenses")
        copy(self, "*", self.source_folder + "/include", self.package_folder + "/include")
"""

LIBRARIES = (
    Library(
        *("lz4", "1.9.4", "lz4", "lz4_1.9.4.orig.tar.gz"),
        "0b0e3aa07c8c063ddf40b082bdf7e37a1562bda40a0ff5272957f3e987e0e54b",
        "CMake, C, static",
        cmake_recipe(
            *("lz4", "1.9.4", "C"),
            shared=False,
            variables={
                "LZ4_BUILD_CLI": False,
                "LZ4_BUILD_LEGACY_LZ4C": False,
                "BUILD_STATIC_LIBS": True,
            },
            folder="build/cmake",
        ),
    ),
    Library(
        *("cjson", "1.7.15", "cjson", "cjson_1.7.15.orig.tar.gz"),
        "5308fd4bd90cef7aa060558514de6a1a4a0819974a26e6ed13973c5f624c24b2",
        "CMake, C, shared",
        cmake_recipe("cjson", "1.7.15", "C", shared=True, variables={"ENABLE_CJSON_TEST": False}),
    ),
    Library(
        *("pugixml", "1.13", "pugixml", "pugixml_1.13.orig.tar.gz"),
        "5c5ad5d7caeb791420408042a7d88c2c6180781bf218feca259fd9d840a888e1",
        "CMake, C++, static",
        cmake_recipe("pugixml", "1.13", "C++", shared=False, variables={}),
    ),
    Library(
        *("libogg", "1.3.5", "libogg", "libogg_1.3.5.orig.tar.xz"),
        "c4d91be36fc8e54deae7575241e03f4211eb102afb3fc0775fbbc1b740016705",
        "Autotools, C, shared",
        AUTOTOOLS,
    ),
    Library(
        *("libvorbis", "1.3.7", "libvorbis", "libvorbis_1.3.7.orig.tar.gz"),
        "0e982409a9c3fc82ee06e08205b1355e5c6aa4c36bca58146ef399621b0ce5ab",
        "CMake, C, static, requires libogg",
        cmake_recipe(*("libvorbis", "1.3.7", "C"), shared=False, variables={}, requires="libogg/[>=1.3 <2]"),
        requires="libogg",
    ),
    Library(
        *("xxhash", "0.8.1", "xxhash", "xxhash_0.8.1.orig.tar.gz"),
        "3bb6b7d6f30c591dd65aaaff1c8b7a5b94d81687998ca9400082c739a690436c",
        "Make, C, static",
        MAKE,
    ),
    Library(
        *("nlohmann_json", "3.11.2", "nlohmann-json3", "nlohmann-json3_3.11.2.orig.tar.gz"),
        "d69f9deb6a75e2580465c6c4c5111b89c4dc2fa94e3a85fcd2ffcd9a143d9273",
        "headers, C++",
        HEADERS,
    ),
)
"""All built as Release."""

WITH_DEBUG = Library(
    *("utf8proc", "2.8.0", "utf8proc", "utf8proc_2.8.0.orig.tar.gz"),
    "a0a60a79fe6f6d54e7d411facbfcc867a6e198608f2cd992490e46f04b1bcecc",
    "CMake, C, static, Debug",
    cmake_recipe("utf8proc", "2.8.0", "C", shared=False, variables={}),
)
"""Built with debug information, which names the folders of the build unless the publisher has the hook."""
