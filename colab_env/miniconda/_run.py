"""Run the installer and conda: nobody else starts them. What goes wrong becomes this package's errors, or heals.

Which Miniconda and Miniforge installers there are, and which one fits a Python version, is in `conda_installers.tsv`: file
names and SHA-256 sums, from published text. Where two public sources give a sum, they agree; most rows rest on one
source, which the column `source` names. A sum given by the user wins.
"""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from packaging.specifiers import SpecifierSet

from colab_env import _files, _process, _report
from colab_env.errors import ColabEnvError, CommandError, CondaError, InstallerError, NoSuchPythonError, UsageError
from colab_env.miniconda import faults
from colab_env.results import short

MIRROR = "COLAB_ENV_MINICONDA_MIRROR"  # an environment variable: the address of a directory of installers
_BASES = {
    "miniconda": "https://repo.anaconda.com/miniconda",
    "miniforge": "https://github.com/conda-forge/miniforge/releases/download/{version}",
}
# Miniforge's names carry no Python: the ones that are known, by release.
_MINIFORGE_PYTHONS = {"26.3.2-3": "3.13"}
_INSTALLER_NAME = re.compile(
    r"Mini(?:conda|forge)3-(?:py(?P<python>\d+)_)?(?P<version>[\d.]+(?:-\d+)?)-Linux-x86_64\.sh"
)


@dataclass(frozen=True, kw_only=True)
class Installer:
    """One installer: its file name, the Python in it such as "3.12" (None: not known), its SHA-256 and its address."""

    name: str
    url: str
    sha256: str
    distribution: str
    python: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", self.sha256):
            msg = f"{self.sha256!r} is not a SHA-256 sum of {self.name}"
            raise UsageError(msg, hint="sha256 takes the 64 hexadecimal digits that the publisher gives for the file")

    @property
    def version(self) -> tuple[int, ...]:
        """The release as numbers, such as (26, 5, 3, 1)."""
        match = _INSTALLER_NAME.fullmatch(self.name)
        return tuple(map(int, re.findall(r"\d+", match["version"]))) if match else ()


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a user said about the installer: the distribution, or an address with its SHA-256, or a mirror's address."""

    distribution: str = "miniconda"
    installer: str | None = None
    sha256: str | None = None
    mirror: str | None = None

    def choose(self, specifier: SpecifierSet, *, environ: Mapping[str, str]) -> Installer:
        """Return the installer to download. Raises NoSuchPythonError and UsageError."""
        if self.installer is not None:
            return _custom(self.installer, specifier, sha256=self.sha256, distribution=self.distribution)
        chosen = choose(specifier, distribution=self.distribution)
        mirror = self.mirror or environ.get(MIRROR)
        url = f"{mirror.rstrip('/')}/{chosen.name}" if mirror else chosen.url
        return replace(chosen, url=url, sha256=self.sha256 or chosen.sha256)


def installers() -> tuple[Installer, ...]:
    """Return every pinned installer."""
    with files("colab_env.miniconda").joinpath("conda_installers.tsv").open(encoding="utf-8") as table:
        return tuple(_row(row) for row in csv.DictReader(table, delimiter="\t"))


def choose(specifier: SpecifierSet, *, distribution: str = "miniconda") -> Installer:
    """Return the newest release with the newest Python that fits.

    Only X.Y is known beforehand: "==3.12.4" finds a 3.12, and the installation shows whether it is the right one. Of
    Miniforge only the newest release is considered. Raises NoSuchPythonError, naming what there is.
    """
    if distribution not in _BASES:
        msg = f"there is no distribution {distribution!r}"
        raise UsageError(msg, hint=f"choose one of {', '.join(_BASES)}")
    candidates = [row for row in installers() if row.distribution == distribution and row.python]
    fitting = [row for row in candidates if _may_fit(row.python or "", specifier)]
    if not fitting:
        available = ", ".join(sorted({row.python or "" for row in candidates}, key=_numbers))
        msg = f"no {distribution.capitalize()} installer has a Python that fits {specifier}; there are {available}"
        raise NoSuchPythonError(msg, hint="ask for one of these, or give installer=URL and sha256=...")
    return max(fitting, key=lambda row: (_numbers(row.python or ""), row.version))


def _row(row: Mapping[str, str]) -> Installer:
    name = row["filename"]
    distribution = "miniforge" if name.startswith("Miniforge") else "miniconda"
    match = _INSTALLER_NAME.fullmatch(name)
    # Miniforge's address has the release in it, Miniconda's has not.
    version = match["version"] if match else ""
    return Installer(
        name=name,
        url=f"{_BASES[distribution].format(version=version)}/{name}",
        sha256=row["sha256"],
        distribution=distribution,
        python=row["python"] or _MINIFORGE_PYTHONS.get(version),
    )


def _custom(url: str, specifier: SpecifierSet, *, sha256: str | None, distribution: str) -> Installer:
    if not sha256:
        msg = f"the installer {url} comes without its SHA-256"
        raise UsageError(msg, hint="give sha256=... too: an installer is only run when it is the published one")
    name = urlsplit(url).path.rpartition("/")[2] or "installer.sh"
    # The installer refuses to run under a name without this ending.
    name = name if name.endswith(".sh") else f"{name}.sh"
    match = _INSTALLER_NAME.fullmatch(name)
    digits = match["python"] if match else None
    python = f"{digits[0]}.{digits[1:]}" if digits else None
    if python and not _may_fit(python, specifier):
        msg = f"{name} brings Python {python} by its name, which does not fit {specifier}"
        raise NoSuchPythonError(msg, hint="give the address of an installer with such a Python, or ask for no Python")
    return Installer(name=name, url=url, sha256=sha256, distribution=distribution, python=python)


def _may_fit(python: str, specifier: SpecifierSet) -> bool:
    # Of an installer's Python only X.Y is known beforehand: any of its releases may be in it.
    return any(specifier.contains(f"{python}.{micro}") for micro in range(100))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


_ATTEMPTS = 4
# Seconds to wait for a connection, and how often to try again; conda's own are 9.15 and 3, for each of three or four
# files of a channel one after the other: a minute until it says that the channel cannot be reached.
_PATIENCE = {"CONDA_REMOTE_CONNECT_TIMEOUT_SECS": "3.05", "CONDA_REMOTE_MAX_RETRIES": "1"}
# Versions between the oldest and the newest look for these alone.
_CI = frozenset({
    "APPVEYOR", "BAMBOO_BUILDKEY", "BITRISE_IO", "BUDDY", "BUILDKITE", "CI", "CIRCLECI", "CIRRUS_CI",
    "CODEBUILD_BUILD_ID", "CONCOURSE_CI", "DRONE", "GITHUB_ACTIONS", "GITLAB_CI", "HEROKU_TEST_RUN_ID", "JENKINS_URL",
    "SAIL_CI", "SEMAPHORE", "TEAMCITY_VERSION", "TF_BUILD", "TRAVIS", "WERCKER", "WOODPECKER_CI",
})  # fmt: skip


def installer_argv(script: Path, prefix: Path) -> list[str]:
    """Return the command that installs unattended, over what an interrupted run left if need be."""
    # Its name has to end in .sh; `-f` heals a prefix in which an earlier run was killed.
    return ["bash", str(script), "-b", "-f", "-p", str(prefix)]


def install_argv(python: Path, packages: Sequence[str], *, channels: Sequence[str]) -> list[str]:
    """Return the command that installs packages from these channels and no others."""
    channel_argv = [word for channel in channels for word in ("-c", channel)]
    # `--override-channels` drops `defaults`, and with it the terms of service that an unattended run would stop at.
    prefix = str(python.parents[1])
    command = [str(python), "-m", "conda", "install", "-q", "-y", "--json", "--prefix", prefix, "--override-channels"]
    return [*command, *channel_argv, *packages]


def env_create_argv(python: Path, prefix: Path, file: Path) -> list[str]:
    """Return the command that makes an environment from an environment.yml, which conda itself reads."""
    return [str(python), "-m", "conda", "env", "create", "-q", "--json", "-p", str(prefix), "-f", str(file)]


def conda_environ(machine: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for conda: no terms are accepted by it, and the certificates of others are trusted."""
    # On what it takes for CI, conda accepts terms of service in the user's name: by one of some forty variables, unless
    # one of those that are true or false says no (conda-anaconda-tos, `api._is_ci`). Older versions know `CI` only.
    environ = {name: value for name, value in _process.child_environ(machine).items() if name not in _CI}
    environ["CI"] = "false"
    for name, value in _PATIENCE.items():
        environ.setdefault(name, value)
    certificates = environ.get("SSL_CERT_FILE")
    if certificates and not {"CONDA_SSL_VERIFY", "REQUESTS_CA_BUNDLE"} & environ.keys():
        environ.update(CONDA_SSL_VERIFY=certificates, REQUESTS_CA_BUNDLE=certificates)
    return environ


def run_installer(script: Path, prefix: Path, *, into: Path, environ: Mapping[str, str]) -> None:
    """Run the installer to its end, `into` a directory that becomes the prefix.

    Raises InstallerError, DiskFullError or NotWritableError.
    """
    with _report.activity(f"Installing {script.name} into {short(prefix)}"):
        finished = _process.run(installer_argv(script, into), environ=_staged_environ(environ), check=False)
    finished = _as_in(prefix, into, finished)
    fault = faults.recognise(faults.INSTALLER_FAULTS, finished.lines)
    # Exit code 0 with a warning about the sum: the last bytes are missing.
    if finished.returncode == 0 and "md5sum mismatch" not in finished.output:
        return
    what = f"{script.name} could not be installed into {short(prefix)}"
    if finished.returncode == 126:
        hint = "choose a prefix on a disk that may run programs (mounted without noexec)"
        raise _process.failed(finished, kind=InstallerError, message=f"{what}: nothing may be run there", hint=hint)
    if fault is None:
        hint = "run the same call again; if the installer was yours, check that it is the right file"
        raise _process.failed(
            finished, kind=InstallerError, message=f"{what}: exit code {finished.returncode}", hint=hint
        )
    raise _error(fault, finished, what=what)


def install_packages(
    python: Path,
    packages: Sequence[str],
    *,
    prefix: Path,
    channels: Sequence[str],
    environ: Mapping[str, str],
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Run `conda install` with conda's own `python`; try again what may heal, waiting 1, 2, 4 seconds.

    The `python` is that of the prefix, or of the directory that becomes the prefix.
    """
    argv = install_argv(python, packages, channels=channels)
    what = f"conda could not install into {short(prefix)}"
    terms = "use channels=('conda-forge',), which asks for nothing;"
    staged = _staged_environ(environ)
    if python.parents[1] != prefix and (prefix / "pkgs").is_dir():
        # The downloads that the prefix has already, not a second cache in the tree that goes away.
        staged.setdefault("CONDA_PKGS_DIRS", str(prefix / "pkgs"))
    _run_conda(argv, what=what, terms=terms, environ=staged, sleep=sleep, prefix=prefix)


def create_environment(
    python: Path,
    prefix: Path,
    file: Path,
    *,
    environ: Mapping[str, str],
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Run `conda env create` with conda's own `python` into the empty directory `prefix`; try again as for packages."""

    def clear() -> None:
        # A failed attempt leaves files, and `conda env create` refuses a directory that is not empty.
        for entry in prefix.iterdir():
            _files.discard(entry)

    argv = env_create_argv(python, prefix, file)
    what = f"conda could not make the environment of {short(file)}"
    terms = f"name channels in {file.name} that ask for nothing, such as conda-forge, and not `defaults`;"
    _run_conda(argv, what=what, terms=terms, environ=conda_environ(environ), sleep=sleep, before=clear)


def _run_conda(
    argv: Sequence[str],
    *,
    what: str,
    terms: str,
    environ: Mapping[str, str],
    sleep: Callable[[float], object],
    before: Callable[[], object] = lambda: None,
    prefix: Path | None = None,
) -> None:
    """Run conda up to four times, `before` each; `terms` is what to do where a channel wants its terms accepted.

    What it says of its own directory is said of the `prefix` that this one becomes.
    """
    base = Path(argv[0]).parents[1]
    for number in range(_ATTEMPTS):
        _mend_history(base)
        before()
        finished = _as_in(prefix or base, base, _process.run(argv, environ=environ, check=False))
        if finished.returncode == 0:
            return
        fault = faults.recognise(faults.CONDA_FAULTS, finished.lines)
        # What another attempt heals: a transfer that was cut off, which conda does not try again, and the history that
        # it has deleted itself.
        heals = faults.LOST_HISTORY in finished.output or (fault is not None and fault.is_transient)
        if not heals or number == _ATTEMPTS - 1:
            _mend_history(base)
            raise _conda_error(fault, finished, what=what, terms=terms)
        _report.line(f"conda: {fault.fact if fault else 'its history was lost'}; attempt {number + 2} of {_ATTEMPTS}")
        sleep(2**number)


def _staged_environ(machine: Mapping[str, str]) -> dict[str, str]:
    # Conda keeps a list of its environments in ~/.conda, where a directory that goes away again has no place.
    return {**conda_environ(machine), "CONDA_REGISTER_ENVS": "false"}


def _as_in(prefix: Path, worked_in: Path, finished: _process.Finished) -> _process.Finished:
    """Return what a program says as if it had worked in the prefix."""
    old, new = str(worked_in), str(prefix)
    lines, argv = (tuple(word.replace(old, new) for word in words) for words in (finished.lines, finished.argv))
    return replace(finished, lines=lines, argv=argv)


def _mend_history(prefix: Path) -> None:
    # conda 25.11 to 26.7.1 delete it when they roll back, and then do not know their own base environment.
    history = prefix / "conda-meta" / "history"
    if not history.exists():
        _files.write_text(history, "")


def _conda_error(fault: faults.Fault | None, finished: _process.Finished, *, what: str, terms: str) -> ColabEnvError:
    if fault is None:
        message = "\n".join([what, *_quoted(finished)])
        return CondaError(
            message, hint="read what conda says above", returncode=finished.returncode, lines=finished.lines
        )
    error = _error(fault, finished, what=what)
    if fault.needs_consent:
        channels = faults.channels_with_terms(finished.lines) or ["https://repo.anaconda.com/pkgs/main"]
        accept = [f"{finished.argv[0]} -m conda tos accept --override-channels --channel {url}" for url in channels]
        error.hint = "\n".join(
            [
                terms,
                "or read https://www.anaconda.com/legal and, if you agree, run:",
                *(f"    {line}" for line in accept),
            ]
        )
    return error


def _error(fault: faults.Fault, finished: _process.Finished, *, what: str) -> ColabEnvError:
    message = "\n".join([f"{what}: {fault.fact}", *_quoted(finished)])
    if issubclass(fault.kind, CommandError):
        return fault.kind(message, hint=fault.hint, returncode=finished.returncode, lines=finished.lines)
    return fault.kind(message, hint=fault.hint)


def _quoted(finished: _process.Finished) -> list[str]:
    return [f"    {line}" for line in faults.cause_lines(finished.lines) if line.strip()]
