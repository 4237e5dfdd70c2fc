"""What a check of container files says: files that are stale, and lines of a Dockerfile that do something else."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from colab_env.results import short


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of a Dockerfile, and what is wrong with it.

    `rule` is a short name, `line` counts from 1, `text` is one sentence, `source` where it can be read. `is_fixable` says
    that `check(fix=True)` knows what would certainly be equivalent or better.
    """

    rule: str
    line: int
    text: str
    source: str
    is_fixable: bool = False


@dataclass(frozen=True, kw_only=True)
class CheckedFile:
    """One file: `stale` says in a sentence why it is not what the project says, or is None; `findings` are its lines'.

    `difference` is a unified diff of what would be better, where that was asked for; `fixed` says that it was written.
    `notes` are about the check itself.
    """

    path: Path
    stale: str | None = None
    findings: tuple[Finding, ...] = ()
    difference: str = ""
    fixed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Say whether nothing is wrong, or everything was mended."""
        return self.stale is None and (not self.findings or (self.fixed and all(map(_is_fixable, self.findings))))

    def __repr__(self) -> str:
        name = short(self.path)
        lines = [f"✗ {name}:{each.line}: {each.text} ({each.rule}, {each.source})" for each in self.findings]
        last = [self.difference.rstrip("\n")] if self.difference else []
        done = [f"✓ {name}: written"] if self.fixed else []
        return "\n".join([*(lines or [f"✓ {name}: fine"]), *(f"  {each}" for each in self.notes), *last, *done])


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What a check says about every file."""

    files: tuple[CheckedFile, ...]

    @property
    def ok(self) -> bool:
        """Say whether nothing is wrong in any of them."""
        return all(each.ok for each in self.files)

    @property
    def exit_code(self) -> int:
        """Return 1 when something is wrong, else 0."""
        return 0 if self.ok else 1

    def __repr__(self) -> str:
        causes = dict.fromkeys(each.stale for each in self.files if each.stale)
        stale = [(cause, [each.path for each in self.files if each.stale == cause]) for cause in causes]
        lines = [f"✗ {', '.join(map(short, paths))}: {cause}" for cause, paths in stale]
        return "\n".join([*lines, *(repr(each) for each in self.files if not each.stale)])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "ok": self.ok,
            "files": [{**asdict(each), "path": str(each.path), "ok": each.ok} for each in self.files],
        }


def _is_fixable(finding: Finding) -> bool:
    return finding.is_fixable
