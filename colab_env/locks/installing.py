"""Put what a lock file says into an environment: by uv, whatever the format."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, index, uv
from colab_env.locks import requirements_text
from colab_env.locks.uv_install import UvInstaller

if TYPE_CHECKING:
    from colab_env.locks import poetry_sources
    from colab_env.machine import Machine
    from colab_env.pyproject import Pyproject

_TRUSTED = re.compile(r"(?m)^[ \t]*--trusted-host[ =]+(\S+)")
_PIP = re.compile(r"(?mi)^pip\b(?![-\w.\[])")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What of a lock file is wanted, and who installs it.

    `extras` besides the main dependencies; `groups`: None for those that the lock file's own tool takes by default, else
    exactly these. `installer` is "uv" or "poetry". `notes` collects what a person should read. `left_out` is shown
    the requirements that uv is about to install and returns the names that are not installed.
    """

    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    installer: str = "uv"
    notes: list[str] = field(default_factory=list, compare=False)
    left_out: Callable[[str], Collection[str]] | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where packages go: the virtual environment `environment`, by the tools of `machine`.

    `uv` is the program that installs, or None on a machine without it; with `pip`, the environment gets pip too;
    `editable` installs the project itself so that changes of its files count at once; `options` are added to uv's. `ready`
    returns when Poetry can be asked.
    """

    machine: Machine
    environment: Path
    uv: Path | None
    ready: Callable[[], object] = lambda: None
    pip: bool = True
    editable: bool = True
    options: tuple[str, ...] = ()

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    @property
    def has_own_index(self) -> bool:
        """Say whether packages come from elsewhere than the default index: a mirror, a company's, a directory."""
        url = index.settings(self.machine).url
        return "--no-index" in self.options or (url is not None and not index.is_default(url))

    def installer(self, pyproject: Pyproject, *, takes_best: bool = False) -> UvInstaller:
        """Return uv as it installs here, for the project of `pyproject`; `takes_best` as in `installer`.

        What is edited in an environment must not change what uv keeps for the next one.
        """
        uv_installer = installer(self.machine, self.uv, pyproject=pyproject, takes_best=takes_best)
        return replace(uv_installer, environ={**_files.unshared(self.environment), **uv_installer.environ})


def installer(
    machine: Machine, program: Path | None = None, *, pyproject: Pyproject, takes_best: bool = False
) -> UvInstaller:
    """Return uv with this machine's index settings; it is installed where there is none.

    With `takes_best`, the best file of all indexes is taken, unless uv's settings here or those of the project say
    otherwise.
    """
    settings = index.settings(machine, pyproject=pyproject)
    environ = uv.environ(machine, settings)
    if takes_best and settings.strategy is None:
        environ["UV_INDEX_STRATEGY"] = index.BEST
    # Each call says --frozen or --locked itself, where it means it.
    environ = {name: value for name, value in environ.items() if name not in ("UV_FROZEN", "UV_LOCKED")}
    return UvInstaller(program=program or uv.ensure(machine), environ=environ, scratch=machine.data)


def install_text(
    installer: UvInstaller,
    text: str,
    selection: Selection,
    *,
    target: Target,
    directory: Path,
    sources: Sequence[poetry_sources.Source] = (),
) -> Mapping[str, Collection[str]]:
    """Make an environment hold what a text in pip's format says, each version exact; relative paths start at `directory`.

    Returns the hashes that the text locks names by. `sources` say which packages come from an index of their own. The text
    may hold a password: it is written to no file that stays, and to no command line.
    """
    if selection.left_out:
        text = requirements_text.without(text, selection.left_out(text))
    if target.pip and not _PIP.search(text):
        text += "\npip\n"
    # A lock is whole: nothing is resolved, and what it does not name goes.
    argv: list[str | Path] = [*target.options, *trusting(text), "--exact", "--no-deps", "-r", "-"]
    of_sources = None
    if sources:
        from colab_env.locks import poetry_sources

        text, of_sources = poetry_sources.with_sources(text, sources, project=directory.name)
    with _files.private_directory(installer.scratch) as scratch:
        if of_sources:
            _files.write_text(scratch / "pyproject.toml", of_sources)
            argv += ["-r", scratch / "pyproject.toml"]
        installer.install(argv, python=target.python, cwd=directory, text=_TRUSTED.sub("", text))
    return requirements_text.hashes(text)


def add_pip(target: Target, text: str) -> None:
    """Add pip where it is wanted, and the `text` in pip's format does not say which; no setting of the project counts."""
    if target.pip and not _PIP.search(text):
        uv_installer = uv.tool_installer(target.machine, index.settings(target.machine))
        environ = {**_files.unshared(target.environment), **uv_installer.environ}
        replace(uv_installer, uv=target.uv, environ=environ).install(["pip"], python=target.python)


def trusting(text: str) -> list[str]:
    """Return the options for the lines `--trusted-host` of pip's, which uv takes on the command line only."""
    hosts = (address.rpartition("@")[2] for address in _TRUSTED.findall(text))
    return [f"--allow-insecure-host={host}" for host in dict.fromkeys(hosts)]
