"""What marks and causes mean, in a sentence each: pages show short words, and a stranger has to ask nobody.

The causes are those that comparisons name (builder/docs/what-a-match-proves.md); a cause that a foreign
rebuilder made up has no sentence, and is shown as it is.
"""

MARKS = (
    (
        "good",
        "good",
        "reproduced",
        "as many operators as the trust file asks for, independent of each other, built exactly these bytes "
        "from source",
    ),
    ("part", "warn", "1 of 2 operators", "some did, and fewer than it asks for"),
    (
        "dot",
        "plain",
        "recorded",
        "these bytes were the first seen under this name, and that is in the log: everybody gets the same",
    ),
    (
        "unequal",
        "bad",
        "contradicted",
        "somebody rebuilt it and got other bytes; that takes nothing away from what others showed",
    ),
    (
        "none",
        "plain",
        "not built",
        "somebody tried and it did not build there; that says nothing about the file",
    ),
    ("none", "plain", "nothing counts", "the log has no entry about it that this node's trust file believes"),
)
"""Shape, colour, word and meaning of each mark of a file, the strongest first."""

CAUSES = {
    "jdk-major": "compiled or packed by another major version of the JDK",
    "jdk-patch": "compiled or packed by another update or vendor of the same JDK",
    "package-versions": "packages of other versions were installed, as on another day",
    "line-ends": "lines end as on another system; in a script that may be another command",
    "locale": "letters beyond ASCII, which another locale reads or writes in another way; in a name or a "
    "script that may be another one",
    "timestamps": "times of files",
    "machine-id": "the id of the machine on which it was made",
    "random": "random bytes or names, which no build makes twice",
    "logs": "logs of the build",
    "caches": "caches that a tool left behind",
    "archive-indexes": "the package archive's list of packages",
    "backups": "backups that a tool made of its own files",
    "missing-entries": "files that only the published one has",
    "extra-entries": "files that only the rebuilt one has",
    "manifest-order": "the order of lines in a manifest",
    "manifest": "what a manifest says",
    "class-code": "compiled code differs: this one deserves a look",
    "content": "contents differ and nothing above explains them: this one deserves a look",
    "set-id": "programs that run with the rights of their owner or group, or with some of root's: this one "
    "deserves a look",
    "umask": "permissions of files, all as another umask leaves them",
    "modes": "permissions of files",
    "owners": "owners of files",
    "links": "where links lead",
    "attributes": "extended attributes of files",
    "config": "the configuration of the image",
    "history": "what the image tells of its own making",
    "annotations": "annotations of the image",
    "media-types": "media types of the image",
    "compression": "how it was compressed, not what unpacks",
    "entry-order": "the order of files in the archive",
    "container": "the archive around the files",
}
"""What differs, for each cause that a comparison names."""
