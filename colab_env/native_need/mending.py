"""Install what is missing, one thing after the other, until a command works and what it installed can be imported."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from colab_env import _file_locks, _ledger, _report, pyproject
from colab_env.errors import AptError, NetworkError
from colab_env.machine import Machine
from colab_env.native_need.apt import Apt, AptPlan
from colab_env.native_need.lookup import needs
from colab_env.native_need.missing import Answer, Candidate, Explanation, Missing
from colab_env.native_need.ranking import answer_on
from colab_env.step import machine_lock

STEP = "mend"
_MOST_ROUNDS = 20  # of the failures that are known, the longest chain has seven links
_PROOF = Path(__file__).parents[1] / "standalone" / "_import_proof.py"
_REQUIREMENT = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\[[^\]]*\])?\s*(?:[=<>!~@;].*)?")
_WITH_VALUE = (
    "-r",
    "-c",
    "-e",
    "-t",
    "-i",
    "-f",
    "-p",
    "--python",
    "--target",
    "--prefix",
    "--index-url",
    "--no-binary",
)


@dataclass(frozen=True, kw_only=True)
class Mended:
    """One thing that was missing, and what apt did, or would do, about it."""

    answer: Answer
    plan: AptPlan

    def __repr__(self) -> str:
        also = f"\n  {self.answer.note}" if self.answer.note else ""
        return f"{self.answer!r}\n  {self.plan!r}{also}"


@dataclass(frozen=True, kw_only=True)
class MendResult:
    """What `mend` did: `installed` in order, `ok` once the command worked, `proven` the modules that were imported.

    `stopped` says why it went no further, `proposed` is the line that would go on, `written` the files that now name the
    packages. `is_of_log` says that a log was mended and not a command: then `ok` says that all it names is installed.
    """

    command: tuple[str, ...]
    is_of_log: bool = False
    installed: tuple[Mended, ...] = ()
    ok: bool = False
    proven: tuple[str, ...] = ()
    stopped: str | None = None
    proposed: str | None = None
    written: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def packages(self) -> tuple[str, ...]:
        """Return the packages that were asked for, without what they brought along."""
        return tuple(name for mended in self.installed for name in mended.plan.packages)

    def __repr__(self) -> str:
        lines = [
            f"✓ {', '.join(mended.plan.packages)}: {mended.answer if self.command or self.is_of_log else 'installed'!s}"
            for mended in self.installed
        ]
        if self.ok and self.command:
            proof = f", and imports {', '.join(self.proven)}" if self.proven else ""
            lines.append(f"✓ it works{proof}")
        elif self.ok and self.is_of_log:
            lines.append(
                f"✓ imports {', '.join(self.proven)}" if self.proven else "✓ all that the log names is installed"
            )
        elif self.ok and not lines:
            lines.append("✓ every system package that the project asks for is there")
        if self.written:
            lines.append(f"  written down in {' and '.join(self.written)}")
        lines += [f"✗ {self.stopped}"] if self.stopped else []
        lines += [f"→ {self.proposed}"] if self.proposed else []
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "packages": list(self.packages)}


@dataclass(kw_only=True)
class Mender:
    """The rounds of one `mend`: `explain` runs a command and says what it missed, `confirm` is asked before each change."""

    machine: Machine
    project: Path
    explain: Callable[[Sequence[str]], Explanation]
    confirm: Callable[[Mended], bool]
    own: Mapping[str, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ()
    is_root: bool = field(default_factory=lambda: os.geteuid() == 0)
    installed: list[Mended] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.apt = Apt(machine=self.machine)

    def run(self, command: Sequence[str], *, log: Explanation | None = None) -> MendResult:
        """Run the command, mend, and run it again, as long as each round makes progress.

        With a `log`, what that names is installed first, and in the place of a command stands the proof by import.
        """
        stopped = proposed = None
        proof = None if log is None else import_proof((), self.imports or _failed_imports(log), self.machine.environ)
        is_proven = False
        with _file_locks.locked(machine_lock(self.machine), shared=True), _ledger.recording(STEP, self.machine):
            try:
                if log is not None:
                    stopped, proposed = self._install_named(log)
                    is_proven = stopped is None and proof is None
                for _ in range(_MOST_ROUNDS if not (stopped or is_proven) else 0):
                    explanation = self.explain(proof or command)
                    if explanation.returncode == 0:
                        if proof is None and (proof := import_proof(command, self.imports, self.machine.environ)):
                            continue
                        is_proven = True
                        break
                    stopped, proposed = self._round(explanation)
                    if stopped is not None:
                        break
                else:
                    if not (stopped or is_proven):
                        stopped = f"something is still missing after {_MOST_ROUNDS} rounds"
            finally:
                names = [name for mended in self.installed for name in mended.plan.packages]
                written = pyproject.add_apt(self.project, names) if names else []
        if log is not None and is_proven and proof is None:
            self.notes.append("a log cannot be tried: run again what failed")
        return MendResult(
            command=tuple(command),
            is_of_log=log is not None,
            installed=tuple(self.installed),
            ok=is_proven,
            proven=tuple(proof[2:]) if proof and is_proven else (),
            stopped=stopped,
            proposed=proposed,
            written=tuple(written),
            notes=tuple(self.notes),
        )

    def install(self, packages: Sequence[str]) -> MendResult:
        """Install packages that the project names, as far as they are not there."""
        stopped = proposed = None
        with _file_locks.locked(machine_lock(self.machine), shared=True), _ledger.recording(STEP, self.machine):
            for package in self.apt.absent(packages):
                reason = Candidate(package=package, file="", reason="the project asks for it")
                self._refresh()
                answer = Answer(missing=Missing(kind="words", name=package, phase="run"), candidates=(reason,))
                mended = Mended(answer=answer, plan=self.apt.plan([package]))
                if (refusal := self._refusal(mended)) is not None:
                    stopped, proposed = refusal[0].replace(repr(answer), f"the project asks for {package}"), refusal[1]
                    break
                self._install(mended)
        return MendResult(
            command=(), installed=tuple(self.installed), ok=stopped is None, stopped=stopped, proposed=proposed
        )

    def _install_named(self, log: Explanation) -> tuple[str | None, str | None]:
        """Install a package for each thing that a log names; return why not, and the line that might help."""
        if not log.findings:
            return self._round(log)
        for finding in log.findings:
            answer = self._answer(replace(log, findings=(finding,)))
            if answer is not None and answer.package is None and "is installed" in (answer.note or ""):
                continue  # since the log was written, or by a package of this very run
            stopped, proposed = self._round(replace(log, findings=(finding,)))
            if stopped is not None:
                return stopped, proposed
        return None, None

    def _round(self, explanation: Explanation) -> tuple[str | None, str | None]:
        """Mend the first thing that can be mended; otherwise say why not, and the line that might help."""
        answer = self._answer(explanation)
        if answer is None or answer.package is None:
            why = answer or explanation.other or "what it printed names no missing thing"
            self.notes += [f"or: {sentence}" for sentence in explanation.advice]
            return (why if isinstance(why, str) else repr(why)), None
        self._refresh()
        plan = self.apt.plan([answer.package])
        mended = Mended(answer=answer, plan=plan)
        if (refusal := self._refusal(mended)) is not None:
            return refusal
        self._install(mended)
        return None, None

    def _refusal(self, mended: Mended) -> tuple[str, str | None] | None:
        """Return why a plan is not carried out, and the line that would do it, or None."""
        answer, plan = mended.answer, mended.plan
        if plan.removed:
            return f"installing {answer.package} would remove {', '.join(plan.removed)}", f"see: {plan.command}"
        if not plan.new:
            return f"{answer.package} is installed, and does not help", None
        if not self.is_root:
            return f"{answer!r}; only root may install it", f"sudo apt-get update && sudo {plan.command}"
        if not self.confirm(mended):
            return f"{answer!r}; it was not installed", plan.command
        return None

    def _answer(self, explanation: Explanation) -> Answer | None:
        """Return the packages for the first thing that has any, else what is said of the first one, or None."""
        if not explanation.findings and not explanation.unconfirmed:
            return None
        index, note = self.apt.index()
        if note is not None and note not in self.notes:
            self.notes.append(note)
        installed = self.apt.installed() | {name for mended in self.installed for name in mended.plan.packages}
        answers = [
            answer_on(self.machine, missing, index, installed=installed, own=self.own)
            for missing in needs(explanation, index, installed=installed)
        ]
        return next((answer for answer in answers if answer.package), answers[0] if answers else None)

    def _refresh(self) -> None:
        """Fetch apt's lists where an index was restored without them, or they are a day old."""
        if not self.apt.has_recent_lists():
            with _report.activity("Fetching apt's lists of packages"):
                self.apt.update()

    def _install(self, mended: Mended) -> None:
        _ledger.note_packages(mended.plan.new)
        with _report.activity(f"Installing {', '.join(mended.plan.packages)}"):
            try:
                self.apt.install(mended.plan)
            except (NetworkError, AptError) as error:
                if not any("404" in line for line in getattr(error, "lines", ())):
                    raise
                self.apt.update()  # a newer version has taken the place of the one in our lists
                self.apt.install(mended.plan)
        self.installed.append(mended)


def import_proof(command: Sequence[str], imports: Sequence[str], environ: Mapping[str, str]) -> list[str] | None:
    """Return the command that imports what a command has installed, in the Python that it installed for, or None.

    `imports` are modules named by the user; otherwise those of the distributions that the command names.
    """
    names = [f"module:{name}" for name in imports] or list(_distributions(command))
    python = _python_of(command, environ)
    return [str(python), str(_PROOF), *names] if names and python is not None else None


def _failed_imports(log: Explanation) -> list[str]:
    """Return the modules that a log shows failing at run time: what was built is not installed, and cannot be imported."""
    names = (finding.distribution for finding in log.findings if finding.phase == "run")
    return list(dict.fromkeys(name for name in names if name is not None))


def _distributions(command: Sequence[str]) -> Iterator[str]:
    """Return the names after `install` or `add`."""
    words = list(command)
    start = next((number for number, word in enumerate(words) if word in {"install", "add"}), len(words))
    skip = False
    for word in words[start + 1 :]:
        if skip or word.startswith("-"):
            skip = not skip and word in _WITH_VALUE
        elif (match := _REQUIREMENT.fullmatch(word)) is not None and not word.endswith((".whl", ".gz", ".zip")):
            yield match[1]


def _python_of(command: Sequence[str], environ: Mapping[str, str]) -> Path | None:
    """Return the Python that a command installs for: its own, the one it names, or that of the environment."""
    words = list(command)
    for number, word in enumerate(words[:-1]):
        if word in {"--python", "-p"} and Path(words[number + 1]).is_file():
            return Path(words[number + 1])
    environment = environ.get("VIRTUAL_ENV") or ".venv"
    program = shutil.which(words[0] if words else f"{environment}/bin/python", path=environ.get("PATH"))
    if program is None:
        return None
    path = Path(program)
    if re.fullmatch(r"python[\d.]*", path.name):
        return path
    interpreters = [path.with_name("python"), path.with_name("python3")] if path.name.startswith("pip") else []
    return next((python for python in (*interpreters, Path(environment) / "bin" / "python") if python.is_file()), None)
