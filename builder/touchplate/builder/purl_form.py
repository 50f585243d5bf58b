"""How a package URL is written, for a person who typed another text."""

_FORMS = {
    "maven": "pkg:maven/GROUP/ARTIFACT@VERSION",
    "conan": "pkg:conan/NAME@VERSION?file=conan_package.tgz&package_id=…&prev=…&rrev=…",
    "oci": "pkg:oci/NAME@sha256:DIGEST?repository_url=HOST/PATH",
}


def purl_form(text: str) -> str:
    """The form of the kind of package that `text` begins as; Maven's for no kind that is known."""
    kind = text.removeprefix("pkg:").partition("/")[0]
    return _FORMS.get(kind, _FORMS["maven"])
