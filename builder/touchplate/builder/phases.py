"""The two phases of a rebuild, Fetch and Build, in one and the same sandbox."""

from touchplate.builder.plan import (
    BUILD_FOLDER,
    HOME_FOLDER,
    MIRROR_URL,
    REPOSITORY_FOLDER,
    Bind,
    BuildPlan,
    BuildResult,
    CollectedFile,
    Forbidden,
    Limits,
    Phase,
    Progress,
    Quiet,
)

__all__ = [
    "BUILD_FOLDER",
    "HOME_FOLDER",
    "MIRROR_URL",
    "REPOSITORY_FOLDER",
    "Bind",
    "BuildPlan",
    "BuildResult",
    "CollectedFile",
    "Forbidden",
    "Limits",
    "Phase",
    "Progress",
    "Quiet",
]
