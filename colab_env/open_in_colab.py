"""The Open-in-Colab badge: a line of Markdown made from the git repository that a notebook is in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from colab_env import _process
from colab_env.errors import CommandError, NoRemoteError
from colab_env.machine import Machine
from colab_env.results import short

_IMAGE = "https://colab.research.google.com/assets/colab-badge.svg"
_PAGE = "https://colab.research.google.com/github"
_NAME = r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git)?/*"
_OWNER_AND_NAME = re.compile(_NAME, re.ASCII)
_GITHUB_URL = re.compile(
    rf"(?:(?:https?|ssh|git|git\+ssh)://)?(?:[^/]*@)?(?:www\.|ssh\.)?github\.com(?::\d+/|[:/])/*{_NAME}",
    re.ASCII | re.IGNORECASE,
)


class Badge(str):
    """A line of Markdown that a notebook cell shows as it is to be pasted."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def badge(
    notebook: str | Path = "colab_bootstrap.ipynb", *, repository: str | None = None, branch: str | None = None
) -> Badge:
    """Return the Markdown of the Open-in-Colab badge for a notebook that is in a git repository.

    `repository` is "OWNER/NAME" or a GitHub URL, by default the URL of the remote `origin`; a user name or password in
    it is left out. `branch` is by default the remote's own default branch, else the current one. Nothing asks GitHub
    whether the notebook has been pushed.

    Raises NoRemoteError when one of the three cannot be found out: no git, no repository around the notebook, no remote
    on github.com (the only one that Colab opens by such an address), no branch.
    """
    notebook = Path(notebook)
    environ = _process.child_environ(Machine.detect().environ, LC_ALL="C")
    path = _path_in_repository(notebook, environ=environ)
    owner_and_name = _owner_and_name(repository or _origin(notebook.parent, environ=environ))
    branch = branch or _default_branch(notebook.parent, environ=environ)
    return Badge(badge_markdown(owner_and_name, branch=branch, path=path))


def badge_markdown(repository: str, *, branch: str, path: str) -> str:
    """Write the badge for "OWNER/NAME", a branch and a path inside the repository."""
    return f"[![Open In Colab]({_IMAGE})]({_PAGE}/{quote(repository)}/blob/{quote(branch)}/{quote(path)})"


def _path_in_repository(notebook: Path, *, environ: Mapping[str, str]) -> str:
    finished = _git(notebook.parent, "rev-parse", "--show-toplevel", environ=environ)
    if finished.returncode:
        directory = notebook.parent.absolute()
        msg = f"{short(directory)} is {'not in a git repository' if directory.is_dir() else 'not there'}"
        raise NoRemoteError(msg, hint="name a notebook that is inside a clone of its repository on GitHub")
    top = Path(_last_line(finished)).resolve()
    return (notebook.parent.resolve() / notebook.name).relative_to(top).as_posix()


def _origin(directory: Path, *, environ: Mapping[str, str]) -> str:
    url = _last_line(_git(directory, "config", "--get", "remote.origin.url", environ=environ))
    if not url:
        msg = f"the git repository around {short(directory.absolute())} has no remote named origin"
        hint = "pass repository='OWNER/NAME', or `git remote add origin https://github.com/OWNER/NAME`"
        raise NoRemoteError(msg, hint=hint)
    return url


def _owner_and_name(repository: str) -> str:
    match = _GITHUB_URL.fullmatch(repository) or _OWNER_AND_NAME.fullmatch(repository)
    if match:
        return f"{match['owner']}/{match['name']}"
    address = repository.rpartition("@")[2]  # without a name and password, which an error must not show
    msg = f"{address} is not a repository on github.com, and Colab's badge opens no others"
    raise NoRemoteError(msg, hint="push it to GitHub and pass repository='OWNER/NAME'")


def _default_branch(directory: Path, *, environ: Mapping[str, str]) -> str:
    for reference, prefix in (("refs/remotes/origin/HEAD", "refs/remotes/origin/"), ("HEAD", "refs/heads/")):
        finished = _git(directory, "symbolic-ref", "--quiet", reference, environ=environ)
        if not finished.returncode:
            return _last_line(finished).removeprefix(prefix)
    msg = f"the git repository around {short(directory.absolute())} is on no branch (detached HEAD)"
    raise NoRemoteError(msg, hint="pass branch='main', or the branch that the notebook is on")


def _git(directory: Path, *arguments: str, environ: Mapping[str, str]) -> _process.Finished:
    try:
        return _process.run(["git", "-C", directory, *arguments], environ=environ, check=False)
    except CommandError as error:
        msg = f"the badge's address comes from git, and git does not start: {error.message}"
        raise NoRemoteError(msg, hint="install git (apt-get install git)") from error


def _last_line(finished: _process.Finished) -> str:
    # A warning of git's comes before what was asked for.
    return finished.lines[-1] if finished.lines else ""
