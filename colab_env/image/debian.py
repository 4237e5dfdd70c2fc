"""Debian packages of an image: what a build needs, and what runs, which is read from the files that were installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from colab_env.image.instructions import Run, comment, copy, run
from colab_env.image.tools import VENV

if TYPE_CHECKING:
    from colab_env.image.project import ImageProject

_RUN_TIME_LIST = "/opt/run-time-packages.txt"
_BUILD_ONLY = frozenset({"gcc", "g++", "clang", "make", "cmake", "ninja-build", "pkg-config", "build-essential"})
# What ldd prints, as patterns for dpkg: it knows files by /usr/lib where the loader has /lib.
_LIBRARY_FILES = "sed -n 's#^.*=> /\\(usr/\\)\\{0,1\\}\\(lib/[^ ]*\\) .*#*/\\2#p' /tmp/needed > /tmp/files"
# Locked: apt of one build gives up where another one works in the same directories.
_APT_CACHE = Run(mounts=tuple(f"type=cache,target=/var/{name}/apt,sharing=locked" for name in ("cache", "lib")))


def is_for_building(name: str) -> bool:
    """Say whether a Debian package has headers or compilers, and nothing that runs."""
    plain = name.partition("=")[0]
    return plain.endswith("-dev") or plain in _BUILD_ONLY


def needed_to_build(project: ImageProject) -> list[str]:
    """Return the packages of the builder: those that the project names, and git where a repository or a version needs it."""
    names_repository = "git+" in project.packages.hashed or any(
        line.kind == "git" for line in project.packages.unhashed
    )
    git = ["git"] if names_repository or project.has_version_of_git else []
    return sorted({*project.apt, *git})


def apt_install(names: list[str]) -> str:
    """Return the instruction that installs packages where their lists do not ship."""
    update = "apt-get update"
    return run([update, f"apt-get install --yes --no-install-recommends {' '.join(names)}"], _APT_CACHE)


def find_needed_to_run(project: ImageProject) -> list[str]:
    """Return the instructions that write down who owns the libraries that the installed packages load."""
    if not any(map(is_for_building, project.apt)):
        return []
    needed = f"find {VENV} -name '*.so*' -type f -exec ldd {{}} + > /tmp/needed 2>/dev/null || true"
    owners = "xargs --no-run-if-empty dpkg-query --search < /tmp/files > /tmp/owners || true"
    listed = f"cut --delimiter=: --fields=1 /tmp/owners > {_RUN_TIME_LIST}"
    return [
        comment(
            "The libraries that run are those that the compiled files load, not the -dev packages that compiled them."
        ),
        run(
            [
                f"({needed})",
                _LIBRARY_FILES,
                f"({owners})",
                listed,
                f"sort --unique --output={_RUN_TIME_LIST} {_RUN_TIME_LIST}",
            ]
        ),
    ]


def install_to_run(project: ImageProject) -> list[str]:
    """Return the instructions that install what the packages need at run time, without lists that would ship."""
    packages = sorted(name for name in project.apt if not is_for_building(name))
    if not project.apt:
        return []
    install = " ".join(["apt-get install --yes --no-install-recommends", *packages])
    why = comment(
        "Copied, not mounted: buildah and podman do not look into mounts, and would keep the layer of another list."
    )
    is_derived = any(map(is_for_building, project.apt))
    listed = [why, copy(_RUN_TIME_LIST, "/opt/", "--from=packages")] if is_derived else []
    command = f"xargs {install} < {_RUN_TIME_LIST}" if listed else install
    return [*listed, run(["apt-get update", command, "rm -rf /var/lib/apt/lists/*"])]
