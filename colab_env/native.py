"""The public functions about what packages need from the operating system, each with a frozen result."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _download, _file_locks, _files
from colab_env.errors import ColabEnvError, MissingStepError, UsageError
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.lock_format import LockFile
    from colab_env.machine import Machine
    from colab_env.native_need.apt import PackageIndex
    from colab_env.native_need.locked_files import LockedPackage, Target
    from colab_env.native_need.mending import Mended, MendResult
    from colab_env.native_need.missing import BuiltPackage, Check, Explanation, Missing
    from colab_env.pyproject import Pyproject

# Causes of a build that failed which another version, or a wheel, may avoid.
_BUILD_CAUSES = frozenset({"no-wheel", "source-mismatch", "library-version", "build-requirement"})
# What a build, or a resolution, failed for: one version of a package.
_NOT_INSTALLED = re.compile(
    r"Failed to (?:download and )?build `?([\w.-]+)==([\w.+!-]*\w)|Because there is no version of ([\w.-]+)==([\w.+!-]*\w)"
    r"|Because ([\w.-]+)==([\w.+!-]*\w) has no (?:wheels|usable)"
)
_SHOWN = 5  # things that a watched run looked for
_NEWEST = 14  # minor version of Python


def check(
    project: str | Path = ".",
    *,
    lock: str | Path | None = None,
    platform: str | None = None,
    python: str | None = None,
    sources: bool = False,
) -> Check:
    """Say which packages of a lock file have no wheel for a platform and a Python, and so are built there.

    `platform` is such as "linux/arm64" or "linux/amd64-musl" (default: this machine), `python` a version (default: that of
    the project's environment, else one that the project asks for). This is read from the lock file alone. With `sources`,
    the archives of those packages are downloaded by their locked hashes and looked into, never run: `needs` is what they ask
    the system for; and the package index is asked which other version has a wheel: `advice`. `install` are the packages that
    bring it and are not installed, where the target is this machine and the distribution's index is here. Raises UsageError
    for a lock file that names no files, MissingStepError where there is none.
    """
    from colab_env.locks import registry
    from colab_env.locks.wheel_support import locked_packages
    from colab_env.machine import Machine
    from colab_env.native_need.locked_files import parse_target
    from colab_env.native_need.missing import Check

    lock_file = registry.find(Path(project).absolute(), lock)
    if not lock_file.is_there:
        msg = f"there is no lock file in {short(lock_file.directory)}"
        raise MissingStepError(msg, hint="lock the project with its own tool first")
    target = parse_target(platform, python or _python_of(lock_file))
    packages = locked_packages(lock_file, target)
    machine = Machine.detect() if sources else None
    built = [_built_package(package, target, machine=machine) for package in packages if package.is_built(target)]
    is_here = machine is not None and target == parse_target(None, ".".join(map(str, target.python)))
    install = _packages_for(built, machine) if machine is not None and is_here else ()
    unknown = tuple(package.name for package in packages if package.is_unknown)
    name, count = lock_file.path.name, len(packages)
    return Check(lock=name, target=str(target), count=count, built=tuple(built), install=install, unknown=unknown)


def foretell(lock: LockFile, python: str) -> list[str]:
    """Return two lines about what installing a lock file for a Python, such as "3.12.4", will build on this machine, or none.

    Where the distribution's index is here, their source archives are downloaded, read and never run, and the second line has
    what to install for them. Else the lock file's own names are read, and nothing else.
    """
    from colab_env.locks.wheel_support import is_quickly_read, locked_packages
    from colab_env.machine import Machine
    from colab_env.native_need.locked_files import parse_target

    if not is_quickly_read(lock):
        return []
    try:
        target = parse_target(None, python)
        built = [package for package in locked_packages(lock, target) if package.is_built(target) and package.sdist]
    except ColabEnvError:  # the step that reads it says what is wrong
        return []
    if not built:
        return []
    listed = ", ".join(f"{package.name} {package.version}" for package in built[:_SHOWN])
    listed += ", ..." if len(built) > _SHOWN else ""
    machine = Machine.detect()
    sources = [_built_package(package, target, machine=machine, advises=False) for package in _few(built, machine)]
    packages = _packages_for(sources, machine)
    line = (
        f"apt-get install --no-install-recommends {' '.join(packages)}"
        if packages
        else "colab-env native check --sources"
    )
    return [f"without a wheel for {target}, so built here: {listed}", f"what that needs of the system: {line}"]


def _few(built: Sequence[LockedPackage], machine: Machine) -> Sequence[LockedPackage]:
    """Return the packages whose sources are looked into before a set-up: few, and none where no package could be named."""
    from colab_env.native_need.apt import Apt

    return built[:_SHOWN] if Apt(machine=machine).ready_index() is not None else ()


def _packages_for(built: Iterable[BuiltPackage], machine: Machine) -> tuple[str, ...]:
    """Return the packages that bring what some builds need and that are not installed, as far as the index is here."""
    from colab_env.native_need.apt import Apt
    from colab_env.native_need.ranking import answer_on

    apt = Apt(machine=machine)
    index = apt.ready_index()
    if index is None:
        return ()
    installed = apt.installed()
    needs = (need for package in built for need in package.needs)
    answers = (answer_on(machine, need, index, installed=installed, own={}) for need in needs)
    return tuple(dict.fromkeys(answer.package for answer in answers if answer.package))


def absent_packages(pyproject: Pyproject) -> list[str]:
    """Return the packages that a project's `[tool.colab-env] apt` names and this system, where it is a Debian, does not have."""
    if not pyproject.at("tool", "colab-env", "apt"):
        return []
    from colab_env.image.project import apt_packages
    from colab_env.machine import Machine
    from colab_env.native_need.apt import Apt

    apt = Apt(machine=Machine.detect())
    return apt.absent(apt_packages(pyproject)) if apt.health_check() is None else []


def _python_of(lock: LockFile) -> str:
    """Return the version of the project's environment; else this Python's, or the newest one that the project takes."""
    from colab_env.interpreter import fits_short_version, parse_specifier

    settings = lock.pyproject.path.parent / ".venv" / "pyvenv.cfg"
    if settings.is_file() and (
        match := re.search(r"(?m)^version(?:_info)? *= *(\d+\.\d+)", settings.read_text(errors="replace"))
    ):
        return match[1]
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if lock.requires_python is None:
        return running
    specifier = parse_specifier(lock.requires_python)
    newest = (f"3.{minor}" for minor in range(_NEWEST, 5, -1))
    return next((version for version in (running, *newest) if fits_short_version(specifier, version)), running)


def _built_package(
    package: LockedPackage, target: Target, *, machine: Machine | None, advises: bool = True
) -> BuiltPackage:
    """Return what is shown of a package; with a `machine`, that downloads its source archive and looks into it."""
    from dataclasses import replace

    from colab_env.native_need import published, source_archive
    from colab_env.native_need.missing import BuiltPackage

    others = ((3, minor) for minor in range(_NEWEST, 7, -1))
    elsewhere = tuple(f"3.{other[1]}" for other in others if not package.is_built(replace(target, python=other)))
    built = BuiltPackage(name=package.name, version=package.version, elsewhere=elsewhere)
    if machine is None:
        return built
    if advises:
        built = replace(built, advice=published.advice(package.name, package.version, target, machine=machine))
    if package.sdist is None:
        return replace(built, note="it has no source archive either: it cannot be installed there")
    try:
        with _file_locks.private_directory(machine.data) as directory:
            archive = directory / "source" / package.sdist.rpartition("/")[2]
            _download.fetch(published.archive_url(package, machine), archive, sha256=package.sha256)
            needs = source_archive.needs(source_archive.read(archive), package.name)
    except ColabEnvError as error:
        return replace(built, note=f"its source was not looked into: {error.message}")
    return replace(built, needs=tuple(needs))


def explain(text: str | None = None, *, log: str | Path | None = None, fetch: bool = True) -> Explanation:
    """Say what a failed build or import was missing: from its `text`, from a file, or from a notebook's last exception.

    With the packages that bring it: for that the distribution's index is fetched, once per release, unless `fetch` is False.
    Findings come in the order in which they will be met, each with the line that names it. What is no missing part of the
    system, such as a wrong hash or a full disk, is named as that. Raises UsageError for a file that is no text, and where
    there is nothing to explain.
    """
    from colab_env.native_need import extract, texts

    if text is not None and log is not None:
        msg = "a text and a log are two things to explain"
        raise UsageError(msg, hint="give one of them")
    if text is None:
        text = texts.last_exception() if log is None else texts.read_log(Path(log))
    explanation = with_packages(extract.extract(text), fetch=fetch)
    return with_advice(explanation) if fetch else explanation


def explain_command(argv: Sequence[str], *, show: Callable[[str], object]) -> Explanation:
    """Run a command and say what it was missing, if it failed; `returncode` of the result is how it ended.

    `show` is called with each line as it comes. It reads nothing: a command that asks a question gets no answer. Raises
    CommandError where it cannot be started.
    """
    from dataclasses import replace

    from colab_env import _process
    from colab_env.native_need import extract, texts
    from colab_env.native_need.missing import Explanation

    output = texts.Output(show)
    finished = _process.run(list(argv), environ=dict(os.environ), check=False, follow=output)
    explanation = extract.extract(output.text) if finished.returncode else Explanation()
    # A text that names no cause, or only that some code raised an error, leaves it open what was missing.
    is_open = explanation.other is None or explanation.other.kind == "own-code"
    if finished.returncode and not explanation.findings and is_open:
        findings = _watch(argv, output.text)
        explanation = replace(explanation, findings=findings, other=None if findings else explanation.other)
    return replace(explanation, returncode=finished.returncode)


def _watch(argv: Sequence[str], text: str) -> tuple[Missing, ...]:
    """Run a command once more and return what it looked for in vain, the likeliest first."""
    from colab_env import _process, _report
    from colab_env.machine import Machine
    from colab_env.native_need import watching

    with _file_locks.private_directory(Machine.detect().data) as directory:
        log = directory / "looked-for"
        watched = watching.watched_argv(argv, log, environ=os.environ)
        if watched is None:
            return ()
        with _report.activity("It names nothing: it is run once more, to see what it looks for"):
            _process.run(watched, environ=dict(os.environ), check=False)
        if not log.is_file():
            return ()
        with log.open(errors="replace") as lines:
            phase = "build" if "strace" in watched[0] else "run"
            return tuple(watching.looked_for(lines, text, phase=phase)[:_SHOWN])


def mend(
    command: Sequence[str] = (),
    *,
    log: str | Path | None = None,
    yes: bool = False,
    project: str | Path = ".",
    imports: Sequence[str] = (),
    show: Callable[[str], object] = print,
    confirm: Callable[[Mended], bool] = lambda _: False,
) -> MendResult:
    """Run a command, install what it turns out to miss, and run it again until it works and its packages can be imported.

    Without a command it installs what the project's `[tool.colab-env] apt` names and the system does not have. With a `log`,
    a file or "-", it installs what that names as missing, and imports what failed there or `imports` names; a build cannot be
    tried again from its log alone.

    The packages come from apt, without recommended ones and without questions; `undo` removes them. Each change is shown
    to `confirm` first, unless `yes`; `imports` are the modules to import at the end, else those of the distributions that
    the command names. The packages are written into the project's `[tool.colab-env] apt`, and into apt.txt where there is
    one. Nothing that would remove a package is done; `sudo` is proposed and not used. Raises AptError, NetworkError or
    DiskFullError where apt cannot go on; what was installed by then stays, and is written down.
    """
    from colab_env.image.project import apt_packages
    from colab_env.machine import Machine
    from colab_env.native_need import extract, texts
    from colab_env.native_need.mending import Mender
    from colab_env.pyproject import Pyproject

    if command and log is not None:
        msg = "a command and a log are two things to mend"
        raise UsageError(msg, hint="give one of them")
    from_log = with_advice(extract.extract(texts.read_log(Path(log)))) if log is not None else None

    def explained(argv: Sequence[str]) -> Explanation:
        explanation = explain_command(argv, show=show)
        return with_advice(explanation) if explanation.other else explanation  # where no package helps, a wheel may

    directory = _files.named_path(project)
    mender = Mender(
        machine=Machine.detect(),
        project=directory,
        explain=explained,
        confirm=(lambda _: True) if yes else confirm,
        own=_own_packages(Pyproject.read(directory)),
        imports=tuple(imports),
    )
    if from_log is not None:
        return mender.run((), log=from_log)
    return mender.run(command) if command else mender.install(apt_packages(Pyproject.read(directory)))


def index(*, refresh: bool = False) -> PackageIndex:
    """Fetch the distribution's lists of files and pack them, unless that was done for this release already.

    That takes some seconds and 11 to 51 MB of download; every other command about missing packages works without a network
    afterwards. `refresh` does it anew. Raises AptError where there is no apt, and NetworkError where no list can be had.
    """
    from colab_env.machine import Machine
    from colab_env.native_need.apt import Apt, PackageIndex

    packed, note = Apt(machine=Machine.detect()).index(refresh=refresh)
    return PackageIndex(path=packed.path, size=packed.path.stat().st_size, note=note)


def with_packages(explanation: Explanation, *, project: str | Path = ".", fetch: bool = False) -> Explanation:
    """Return an explanation with the packages for its findings.

    Without `fetch` only where `index` has been called on this release before: that takes milliseconds. Where the index is to
    be fetched and cannot be, such as without apt or without a network, the explanation says why instead.
    """
    from dataclasses import replace

    from colab_env.machine import Machine
    from colab_env.native_need.apt import Apt
    from colab_env.native_need.lookup import needs
    from colab_env.native_need.ranking import answer_on, is_own_header
    from colab_env.pyproject import Pyproject

    if not explanation.findings and not explanation.unconfirmed:
        return explanation
    machine = Machine.detect()
    apt = Apt(machine=machine)
    try:
        # A word that may be no name at all is not worth 46 MB.
        packed = apt.index()[0] if fetch and explanation.findings else apt.ready_index()
    except ColabEnvError as error:
        if not explanation.findings:
            return explanation
        reason = f"which package brings it: {error.message}" + (f"; {error.hint}" if error.hint else "")
        return replace(explanation, not_concluded=(*explanation.not_concluded, reason))
    if packed is None:
        said = [missing.name for missing in explanation.unconfirmed if missing.kind in ("words", "python-package")]
        note = f"{', '.join(said)}: whether a package has that, `colab-env native index` tells, then this again"
        absent = [note] if said and not explanation.findings and apt.health_check() is None else []
        return replace(explanation, not_concluded=(*explanation.not_concluded, *absent))
    requested, installed = _own_packages(Pyproject.read(_files.named_path(project))), apt.installed()
    answers = [
        answer_on(machine, need, packed, installed=installed, own=requested)
        for need in needs(explanation, packed, installed=installed)
    ]
    notes = [
        f"line {answer.missing.line} names {answer.missing.name}, which seems to be a file of {answer.missing.distribution} itself"
        for answer in answers
        if is_own_header(answer)
    ]
    answers = [answer for answer in answers if not is_own_header(answer)]
    return replace(
        explanation,
        findings=tuple(answer.missing for answer in answers),
        other=None if answers else explanation.other,
        not_concluded=(*explanation.not_concluded, *notes),
        answers=tuple(answers),
    )


def with_advice(explanation: Explanation) -> Explanation:
    """Return an explanation with what needs no build: another version or another Python that has a wheel, conda's package.

    The package index is asked for one page, in one attempt; where it does not answer, there is no such advice.
    """
    from dataclasses import replace

    from colab_env.machine import Machine
    from colab_env.native_need import published
    from colab_env.native_need.locked_files import parse_target

    is_build = any(need.phase == "build" for need in explanation.findings)
    if explanation.requirement is None or not (
        is_build or (explanation.other and explanation.other.kind in _BUILD_CAUSES)
    ):
        return explanation
    name, _, version = explanation.requirement.partition("==")
    target = parse_target(None, explanation.python or f"{sys.version_info[0]}.{sys.version_info[1]}")
    return replace(explanation, advice=published.advice(name, version or None, target, machine=Machine.detect()))


def wheel_advice(lines: Sequence[str], python: str, machine: Machine) -> str:
    """Return what could be installed where a tool failed with these lines for a Python such as "3.12.4".

    It is such as "numpy 1.26.4 has a wheel for Python 3.12", as the package index says, or "" where nothing is known.
    """
    from colab_env.native_need import published
    from colab_env.native_need.locked_files import parse_target

    match = _NOT_INSTALLED.search(" ".join(" ".join(lines).split()))
    if match is None:
        return ""
    name, version = filter(None, match.groups())
    try:
        sentences = published.advice(name, version, parse_target(None, python), machine=machine)
        return "; ".join(_with_choice(sentence, python) for sentence in sentences)
    except ColabEnvError:  # a machine for which there are no wheels, or an index that is not reached
        return ""


def _with_choice(sentence: str, python: str) -> str:
    """Add how another Python is chosen to the sentence that names some."""
    other = re.search(r"has a wheel for Python (?:[\d., ]+, )?(3\.\d+)$", sentence)
    if other is None or python.startswith(f"{other[1]}.") or python == other[1]:
        return sentence
    return f"{sentence} (--python {other[1]}, or python='{other[1]}', chooses it)"


def _own_packages(pyproject: Pyproject) -> dict[str, str]:
    """Return what `[tool.colab-env] native` says: from the name of a missing thing to a package."""
    from colab_env.native_need.apt import check_name

    table = pyproject.at("tool", "colab-env", "native") or {}
    for name in table.values():
        check_name(str(name))
    return {thing: str(name) for thing, name in table.items()}
