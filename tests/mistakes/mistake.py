"""What one mistake is: what somebody types where, what must be said about it, and what then works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CLI, API, MAGIC, PAGE = "cli", "api", "magic", "page"
DOORS = (CLI, API, MAGIC, PAGE)


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One mistake.

    `typed` is a command line without `colab-env` (door CLI), an expression in which `colab_env` is imported (API), or the
    text of a notebook's cell (MAGIC; PAGE where the cell is one of the bundled notebook's, with what was written into its
    form). `files` are laid down in the project first, by their names. The message and its hint have all of `says`, and the
    hint `hint`; `code` is the exit code of the error's class, 0 for what is accepted after all. Nothing below the home and
    the project changes but what `changes` matches.

    The hint is followed by typing `cure` (through the same door), or by writing `mend` over the files and typing the same
    again. That must end with `cured`, or, where it would install, get as far as the first program or connection.
    """

    name: str
    typed: str
    says: tuple[str, ...] = ()
    code: int = 2
    door: str = CLI
    files: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""
    cure: str | None = None
    mend: Mapping[str, str] = field(default_factory=dict)
    cured: int = 0
    changes: tuple[str, ...] = ()
    starts: tuple[str, ...] = ("git",)  # programs that may be started: they only answer
    source: str = ""  # where somebody made it: findings (N1), or an issue of another tool
    waits: str = ""  # for a part of the product that is still to be merged

    def __post_init__(self) -> None:
        if self.door not in DOORS:
            raise ValueError(self.door)
