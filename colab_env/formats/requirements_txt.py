"""requirements.txt: pip's own format, which uv and pip read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _file_locks, _files, index, uv
from colab_env.errors import ProjectFileError, UsageError
from colab_env.locks import installing, requirements_text
from colab_env.locks.lock_format import LockFile, LockFormat
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.installing import Selection, Target
    from colab_env.machine import Machine


class RequirementsTxt(LockFormat):
    """A file of requirements, exact or loose, with the files that it includes."""

    name = "requirements.txt"
    rank = 60
    file_names = ("requirements.txt", "requirements.in")
    suffixes = (".txt", ".in")
    options = frozenset({"keep", "isolated"})
    is_loose = True

    def inputs(self, lock: LockFile) -> list[tuple[str, bytes]]:
        return requirements_text.with_included(lock.path, lock.content)

    def check_content(self, lock: LockFile) -> None:
        super().check_content(lock)
        if missing := requirements_text.missing_include(lock.path, lock.content):
            line, name = missing
            msg = f"{short(lock.path)}, line {line}: it includes {name}, which is not there"
            raise ProjectFileError(msg, hint="check the path, which is relative to that file; nothing was changed")
        listed = requirements_text.requirements(lock.text)
        if loose := next(
            (each for line, each in listed if "--hash" in line and not (each.url or requirements_text.pins(each))), None
        ):
            msg = f"{short(lock.path)} has hashes of {loose.name}, and no exact version: uv would not compare them"
            raise ProjectFileError(msg, hint=f"write such as {loose.name}==1.0 --hash=...; nothing was changed")

    def peek(self, lock: LockFile, selection: Selection, *, machine: Machine, has_python: bool) -> str | None:
        return None if has_python else lock.text

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        return installing.installer(machine, pyproject=lock.pyproject).compile(
            lock.path, python=python, text=_other(lock)
        )

    def export_universal(self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine) -> str:
        wanted, limits = (
            [requirement for text in texts for _, requirement in requirements_text.requirements(text)]
            for texts in requirements_text.parts(lock.path, lock.content)
        )
        pinned = {
            requirements_text.normalized(each.name)
            for each in (*wanted, *limits)
            if each.url or requirements_text.pins(each)
        }
        if loose := next((each for each in wanted if requirements_text.normalized(each.name) not in pinned), None):
            msg = f"{short(lock.path)} is no lock file: it names no exact version of {loose.name}"
            command = f"uv pip compile --universal --generate-hashes {lock.path.name} -o requirements.lock.txt"
            raise UsageError(msg, hint=f"run `{command}`, then name that file with lock=...; nothing was written")
        # Locked already, for every platform as far as it says.
        listed = requirements_text.requirements(lock.text)
        if listed and all("--hash" in line for line, _ in listed) and len(self.inputs(lock)) == 1:
            return lock.text
        installer = installing.installer(machine, pyproject=lock.pyproject)
        return installer.compile(lock.path, python=python, text=_other(lock), options=("--universal",))

    def install(self, lock: LockFile, selection: Selection, *, target: Target) -> Mapping[str, Collection[str]]:
        everything = "\n".join(content.decode(errors="replace") for _, content in self.inputs(lock))
        locked = requirements_text.hashes(everything)
        if target.uv is None:
            by_pip = uv.installer(target.machine, index.settings(target.machine))
            by_pip.install(["-r", str(lock.path)], python=target.python, cwd=lock.directory)
            return locked
        installer = target.installer(lock.pyproject)
        options: list[str | Path] = [*target.options, *installing.trusting(lock.text), "--exact"]
        with _file_locks.private_directory(target.machine.data) as scratch:
            text = _other(lock)
            source: list[str | Path] = ["-r", "-" if text else lock.path]
            if selection.left_out is not None:
                names = selection.left_out(installer.compile(lock.path, python=target.python, text=text))
                # Excluded, not removed afterwards: a package that the machine has is not even downloaded.
                _files.write_text(scratch / "excludes.txt", "".join(f"{name}\n" for name in names))
                source += ["--excludes", scratch / "excludes.txt"]

            def install(more: Sequence[str]) -> None:
                argv = [*options, *source, *more]
                installer.install(argv, python=target.python, cwd=lock.directory, text=text, read=lock.path)

            with installing.naming_refusals(everything):
                installing.with_pip(install, target=target, text=everything)
        return locked


def _other(lock: LockFile) -> str | None:
    """Return what the file says if it is not in UTF-8, which is all that uv reads."""
    return None if lock.content == _files.content(lock.path) else lock.text
