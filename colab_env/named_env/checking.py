"""Compare an environment with what was installed, by its receipt, or file by file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files, _process, _state, content
from colab_env.named_env import inventory
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.named_env.inventory import NamedEnvironment, Receipt

_SHOWN = 10  # problems that are shown


@dataclass(frozen=True, kw_only=True)
class CheckedEnvironment:
    """What is wrong with an environment, and what was `added` since it was made, which is not wrong.

    `files` is how many were read, or None where only its receipt was asked.
    """

    name: str
    path: Path
    problems: tuple[str, ...]
    added: tuple[str, ...]
    files: int | None

    def __repr__(self) -> str:
        read = "" if self.files is None else f", {content.pluralize(self.files, 'file')} read"
        found = content.pluralize(len(self.problems), "problem") if self.problems else f"as it was made{read}"
        lines = [
            f"{'✗' if self.problems else '✓'} {self.name:<20} {short(self.path)}: {found}",
            *self.problems[:_SHOWN],
        ]
        lines += [f"and {len(self.problems) - _SHOWN} more"] if len(self.problems) > _SHOWN else []
        lines += [f"added since: {', '.join(self.added)}"] if self.added else []
        return "\n  ".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "path": str(self.path)}


def _is_marked(place: NamedEnvironment, receipt: Receipt) -> bool:
    """Say whether a build knows its number and its path, which the shell part of the command reads."""
    if place.current is None or receipt.path is None:
        return True  # of a version before there were any
    try:
        return (place.directory / content.BUILD).read_text(encoding="utf-8") == f"{place.current}\n{receipt.path}\n"
    except (OSError, UnicodeDecodeError):
        return False


def check(place: NamedEnvironment, *, machine: Machine, deep: bool) -> CheckedEnvironment:
    """Compare the current build with its receipt; if `deep`, read every file, and compare it with its RECORD."""
    health, receipt, directory = place.health_check(), place.receipt, place.directory
    problems, files = [health] if health else [], None
    if deep and receipt is not None:
        survey, known = content.Survey(directory), content.read(directory)
        files = len(survey.digests)
        if known is None:
            problems.append(
                content.fault(directory) or "what it was made of is not written down: `upgrade` makes it anew"
            )
        else:
            environ = _process.child_environ(machine.environ)
            wrong = content.wrong_bytecode(survey, known, python=place.python, environ=environ) if not health else []
            problems += map(str, [*survey.differences(known), *wrong])
            problems += [] if _state.is_sealed(directory / _files.RECEIPT) else [f"{_files.RECEIPT} has changed"]
        problems += [] if _is_marked(place, receipt) else [f"{content.BUILD} has changed"]
    changes = inventory.version_changes(receipt.packages, inventory.packages(directory)) if receipt else []
    return CheckedEnvironment(
        name=place.name,
        path=place.path,
        problems=tuple(problems),
        added=tuple(repr(each).strip("+ ") for each in changes if each.after is not None),
        files=files,
    )
