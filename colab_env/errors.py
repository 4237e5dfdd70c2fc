"""Every way this package can fail, one class and one exit code per cause.

ColabEnvError                     1  anything below
├── UsageError                    2  an argument that cannot be right
├── NoSuchPythonError             3  no interpreter fits the version asked for
├── MissingStepError              4  an earlier step has not been run
├── NotOursError                  5  something in the way that this package did not make
├── NotWritableError              6  a file or directory that may not be written
├── DiskFullError                 7  no space left
├── NetworkError                  8  a host that cannot be reached or answers with an error
├── HashMismatchError             9  a download that is not what its checksum promises
├── CommandError                 10  a tool that ended with an error
│   ├── InstallerError           11  the Miniconda installer
│   ├── CondaError               12  conda
│   │   ├── TermsOfServiceError  13  a channel whose terms nobody has accepted
│   │   └── PackageNotFoundError 14  packages that a channel does not have or that do not fit together
│   ├── PoetryError              15  Poetry
│   ├── LockMismatchError        16  a lock file that does not belong to its pyproject.toml
│   ├── BuildError               17  a package that does not build
│   └── AptError                 37  apt, which cannot install what is missing
├── ProjectFileError             18  a pyproject.toml, environment.yml, lock or settings file that cannot be read
├── KernelNameError              19  a kernel name that Jupyter does not take
├── KernelTakenError             20  a kernel of that name belongs to somebody else, or to another project
├── PreflightError               21  a kernel or a service that was tried and does not work
├── NotebookError                22  a file that is not a notebook
│   ├── NotebookVersionError     23  a notebook of another format version
│   └── NotebookBusyError        24  a notebook that another program has open for writing
├── NoRemoteError                25  no GitHub address to make a badge from
├── KeepError                    26  a package kept from the machine that does not fit
│                                27  (no error: `colab-env undo` has left something, and says what)
├── DamagedError                 28  files that are not as they were installed
├── EnvironmentNameError         30  a name that an environment cannot have
├── NoSuchEnvironmentError       31  no environment of that name in any base
├── NotAnEnvironmentError        32  something in a base that is no environment of ours
├── EnvironmentExistsError       33  a name that an environment has already
├── EnvironmentInUseError        34  programs run from the environment
├── BrokenEnvironmentError       35  an environment that is unfinished or does not work
├── ScriptError                  36  a script whose first lines cannot be read or written
├── CacheError                   40  a cache directory that cannot be read or written
├── SnapshotError                41  a snapshot that is damaged, or that was not made for this place
├── BaseImageError               50  a base image that is damaged, or that the project does not fit into
├── RegistryLoginError           51  a registry of images that wants a login, or refuses the one that it got
├── NoWheelError                 52  locked packages that would have to be built for an image
└── NoSuchProgramError          127  a program that is not in the environment, as shells have it
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from colab_env import _report

_LONGEST = 8000  # characters of a message: what is quoted in it may be a whole file


class ColabEnvError(Exception):
    """Say what is wrong (the message) and what to do next (the hint)."""

    exit_code: ClassVar[int] = 1
    log: Path | None = None  # where all that happened is written, if this ended a run that changed something

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = _escaped(message)
        self.hint = None if hint is None else _escaped(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return "\n".join([self.message, *self._below()])

    def _render_traceback_(self) -> list[str]:
        # IPython 7.34 to 9 show this list instead of the frames of a user's mistake.
        return [f"{type(self).__name__}: {self.message}", *self._below()]

    def _below(self) -> list[str]:
        """Return what to do next, and where more is written."""
        log = [f"  all of it is in {_report.short(self.log)}"] if self.log else []
        return [*([f"→ {self.hint}"] if self.hint else []), *log]


def _escaped(text: str) -> str:
    """Return what every screen can show: without secrets, terminal escapes, or halves of a character."""
    cleaned = _report.clean(text[:_LONGEST]).encode("utf-8", "backslashreplace").decode()
    return cleaned[:_LONGEST] + ("…" if max(len(text), len(cleaned)) > _LONGEST else "")


class UsageError(ColabEnvError):
    exit_code = 2


class NoSuchPythonError(ColabEnvError):
    exit_code = 3


class MissingStepError(ColabEnvError):
    exit_code = 4


class NotOursError(ColabEnvError):
    exit_code = 5


class NotWritableError(ColabEnvError):
    exit_code = 6


class DiskFullError(ColabEnvError):
    exit_code = 7


class NetworkError(ColabEnvError):
    exit_code = 8


class HashMismatchError(ColabEnvError):
    exit_code = 9


class CommandError(ColabEnvError):
    """A tool ended with an error; `lines` are the last lines it printed, `returncode` its exit code."""

    exit_code = 10

    def __init__(
        self, message: str, *, hint: str | None = None, returncode: int = 1, lines: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.returncode = returncode
        self.lines = lines


class InstallerError(CommandError):
    exit_code = 11


class CondaError(CommandError):
    exit_code = 12


class TermsOfServiceError(CondaError):
    exit_code = 13


class PackageNotFoundError(CondaError):
    exit_code = 14


class PoetryError(CommandError):
    exit_code = 15


class LockMismatchError(CommandError):
    exit_code = 16


class BuildError(CommandError):
    exit_code = 17


class AptError(CommandError):
    exit_code = 37


class ProjectFileError(ColabEnvError):
    exit_code = 18


class KernelNameError(ColabEnvError):
    exit_code = 19


class KernelTakenError(ColabEnvError):
    exit_code = 20


class PreflightError(ColabEnvError):
    exit_code = 21


class NotebookError(ColabEnvError):
    exit_code = 22


class NotebookVersionError(NotebookError):
    exit_code = 23


class NotebookBusyError(NotebookError):
    exit_code = 24


class NoRemoteError(ColabEnvError):
    exit_code = 25


class KeepError(ColabEnvError):
    exit_code = 26


class DamagedError(ColabEnvError):
    exit_code = 28


class EnvironmentNameError(ColabEnvError):
    exit_code = 30


class NoSuchEnvironmentError(ColabEnvError):
    exit_code = 31


class NotAnEnvironmentError(ColabEnvError):
    exit_code = 32


class EnvironmentExistsError(ColabEnvError):
    exit_code = 33


class EnvironmentInUseError(ColabEnvError):
    exit_code = 34


class BrokenEnvironmentError(ColabEnvError):
    exit_code = 35


class ScriptError(ColabEnvError):
    exit_code = 36


class CacheError(ColabEnvError):
    exit_code = 40


class SnapshotError(ColabEnvError):
    exit_code = 41


class BaseImageError(ColabEnvError):
    exit_code = 50


class RegistryLoginError(ColabEnvError):
    exit_code = 51


class NoWheelError(ColabEnvError):
    exit_code = 52


class NoSuchProgramError(ColabEnvError):
    exit_code = 127
