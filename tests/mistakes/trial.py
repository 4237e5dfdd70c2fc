"""Make a mistake in a world of its own, in this process, and judge what was said and what it left."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import io
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from .mistake import API, CLI, MAGIC, PAGE, Mistake

TRACEBACK, RAW, CURE, BYTES, WORDS = (
    "tracebacks",
    "raw child output",
    "hints that do not cure",
    "changed bytes",
    "words",
)
KINDS = (TRACEBACK, RAW, CURE, BYTES, WORDS)
_RAW = re.compile(
    r"ended with exit code|`/\S+ (pip|venv|sync|export|lock)\b|^\s*\{\"|^(error|ERROR|warning|WARNING): |Caused by:"
    r"|[\u00d7\u2570\u251c]|HTTPSConnectionPool|Errno|usage: ",
    re.MULTILINE,
)
_LONGEST = 700  # characters of message and hint together: what a person reads
WENT_AHEAD = "went ahead"
_ROOT = Path(__file__).resolve().parents[2]
_FOR_REAL = f"""
import sys
sys.path[:0] = [{str(_ROOT / "tests")!r}]
from mistakes import trial
sys.exit(trial.DOORS_BY_NAME[sys.argv[1]](sys.argv[2]))
"""


class WentAhead(BaseException):
    """Nothing was refused: a program that installs, or a connection, is next."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How typing something ended: an exit code, or `went ahead`; and all that was shown."""

    code: int | str
    shown: str
    traceback: str = ""


@dataclass(kw_only=True)
class Verdict:
    """What did not hold, by kind."""

    mistake: Mistake
    outcome: Outcome
    problems: dict[str, str] = field(default_factory=dict)
    followed: Outcome | None = None

    def __str__(self) -> str:
        lines = [
            f"{self.mistake.name} ({self.mistake.door}): {self.mistake.typed}",
            f"    {self.outcome.shown.strip()}",
        ]
        lines += [f"  ! {kind}: {text}" for kind, text in self.problems.items()]
        return "\n".join(lines)


def attempt(mistake: Mistake) -> Verdict:
    """Make the mistake, follow the hint, and say what did not hold."""
    with tempfile.TemporaryDirectory(prefix="mistake-", dir=_memory()) as directory, _world(Path(directory)) as project:
        _write(project, mistake.files)
        before = _tree(Path(directory))
        outcome = _type(mistake, mistake.typed)
        after = _tree(Path(directory))
        verdict = Verdict(mistake=mistake, outcome=outcome)
        changed = [
            path
            for path in sorted(before.keys() | after.keys())
            if before.get(path) != after.get(path) and not any(fnmatch.fnmatch(path, glob) for glob in mistake.changes)
        ]
        if changed:
            verdict.problems[BYTES] = ", ".join(changed)[:300]
        _judge_words(verdict)
        if mistake.cure is not None or mistake.mend:
            _follow(verdict, project)
        return verdict


def follow_for_real(mistake: Mistake) -> Outcome:
    """Make the mistake, then follow its hint as a person does: in a process of its own, which may install and connect.

    The home is empty; programs, pyenv's Pythons and the caches of downloads are this machine's.
    """
    caches = {"UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache/uv"))}
    index = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_", "REQUESTS_"))}
    proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    with tempfile.TemporaryDirectory(prefix="mistake-") as directory:
        root = Path(directory)
        project = _furnish(root)
        _write(project, mistake.files)
        own = _environ(root)
        own["PATH"] += ":/usr/bin:/bin"  # a kernel that is tried runs a shell
        own["PYENV_ROOT"] = os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))
        environ = {**index, **caches, **proxies, **own, "PYTHONPATH": str(_ROOT)}
        for text in (mistake.typed, mistake.typed if mistake.cure is None else mistake.cure):
            argv = [sys.executable, "-c", _FOR_REAL, mistake.door, text]
            done = subprocess.run(argv, cwd=project, env=environ, capture_output=True, text=True, check=False)
            _write(project, mistake.mend)
        return Outcome(code=done.returncode, shown=done.stdout + done.stderr)


def _judge_words(verdict: Verdict) -> None:
    mistake, outcome = verdict.mistake, verdict.outcome
    if outcome.traceback or "Traceback (most recent call last)" in outcome.shown:
        verdict.problems[TRACEBACK] = outcome.traceback or outcome.shown
        return
    if raw := _RAW.search(outcome.shown):
        verdict.problems[RAW] = raw[0]
    text = " ".join(outcome.shown.split())
    absent = [words for words in (*mistake.says, mistake.hint) if words not in text]
    faults = [f"does not say {words!r}" for words in absent]
    if outcome.code != mistake.code:
        faults.append(f"ends with {outcome.code}, not {mistake.code}")
    if mistake.code and len(text) > _LONGEST:
        faults.append(f"{len(text)} characters")
    if mistake.code and "→" not in text and "--help" not in text and not mistake.hint:
        faults.append("no hint")
    if faults:
        verdict.problems[WORDS] = "; ".join(faults)


def _follow(verdict: Verdict, project: Path) -> None:
    mistake = verdict.mistake
    _write(project, mistake.mend)
    followed = verdict.followed = _type(mistake, mistake.typed if mistake.cure is None else mistake.cure)
    if followed.traceback or followed.code not in (mistake.cured, WENT_AHEAD):
        verdict.problems[CURE] = f"ends with {followed.code}: {(followed.traceback or followed.shown)[-600:]}"


def _type(mistake: Mistake, text: str) -> Outcome:
    shown = io.StringIO()
    try:
        with _guarded(mistake.starts), contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
            code = DOORS_BY_NAME[mistake.door](text)
    except WentAhead as reached:
        return Outcome(code=WENT_AHEAD, shown=f"{shown.getvalue()}\n({reached})")
    except Exception:  # noqa: BLE001 - whatever gets here is a traceback for whoever typed it
        return Outcome(code=1, shown=shown.getvalue(), traceback=traceback.format_exc()[-800:])
    return Outcome(code=code, shown=re.sub(r"\x1b\[[0-9;]*m", "", shown.getvalue()))


def _command(text: str) -> int:
    from colab_env import cli

    try:
        return cli.main(shlex.split(text))
    except SystemExit as end:  # argparse
        return int(end.code or 0)


def _expression(text: str) -> int:
    import colab_env

    try:
        print(repr(eval(text, {"colab_env": colab_env})))
    except colab_env.ColabEnvError as error:
        print("\n".join(error._render_traceback_()))
        return error.exit_code
    return 0


def _cell(text: str) -> int:
    from IPython.core import async_helpers

    import colab_env

    shell = _shell()
    for kind in type(shell)._walk_mro():
        kind._instance = shell
    try:
        result = shell.run_cell(text)
    finally:
        type(shell).clear_instance()  # nothing else in this process is in a notebook
        async_helpers.get_asyncio_loop().close()  # the next cell gets a new one
    error = result.error_before_exec or result.error_in_exec
    if isinstance(error, WentAhead):
        raise error
    if error is not None and not isinstance(error, colab_env.ColabEnvError):
        print("Traceback (most recent call last)")
    return getattr(error, "exit_code", 1) if error else 0


DOORS_BY_NAME = {CLI: _command, API: _expression, MAGIC: _cell, PAGE: _cell}


@functools.cache
def _shell() -> Any:
    """Return a notebook's shell with the magics, one for all cells: it takes half a second to make."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    main = sys.modules["__main__"]
    config = Config({"HistoryManager": {"enabled": False}})
    shell = InteractiveShell.instance(config=config)
    sys.modules["__main__"] = main  # a shell puts its own there
    shell.run_line_magic("load_ext", "colab_env")
    return shell


@contextlib.contextmanager
def _guarded(programs: Sequence[str]) -> Iterator[None]:
    """Stop before the first program that is not one of these, and before the first connection."""
    start = subprocess.Popen.__init__

    def guarded(self: Any, argv: Any, *rest: Any, **options: Any) -> None:
        words = list(map(str, argv)) if isinstance(argv, (list, tuple)) else [str(argv)]
        if Path(words[0]).name == "setpriv":  # ends the program with its parent
            words = words[words.index("--") + 1 :]
        if Path(words[0]).name not in programs:
            self._child_created = False  # its __del__ asks
            raise WentAhead(" ".join(words))
        start(self, argv, *rest, **options)

    def connect(_socket: Any, address: Any) -> None:
        raise WentAhead(str(address))

    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(subprocess.Popen, "__init__", guarded))
        patches.enter_context(mock.patch.object(socket.socket, "connect", connect))
        patches.enter_context(mock.patch.object(socket, "getaddrinfo", lambda host, *_, **__: connect(None, host)))
        yield


@contextlib.contextmanager
def _world(root: Path) -> Iterator[Path]:
    """A home of its own, an empty project to stand in, one Python, and no network."""
    project, directory = _furnish(root), Path.cwd()
    with mock.patch.dict(os.environ, _environ(root), clear=True):
        os.chdir(project)
        try:
            yield project
        finally:
            os.chdir(directory)


def _furnish(root: Path) -> Path:
    home, project = root / "home", root / "lesson"
    project.mkdir()
    (home / "bin").mkdir(parents=True)
    (home / "bin/python3").symlink_to(os.path.realpath(sys.executable))
    git = shutil.which("git")
    if git:
        (home / "bin/git").symlink_to(git)
    return project


def _environ(root: Path) -> dict[str, str]:
    home = root / "home"
    return {
        "HOME": str(home),
        "PATH": str(home / "bin"),
        "PYENV_ROOT": str(home / "pyenv"),
        "COLAB_ENV_HOME": str(home / "colab-env"),
        "COLAB_ENV_BASE": str(home / "envs"),
        "JUPYTER_DATA_DIR": str(home / "jupyter"),
        "JUPYTER_CONFIG_DIR": str(home / "jupyter-config"),
        "JUPYTER_PATH": "",
        "IPYTHONDIR": str(home / "ipython"),
        "LANG": "C.UTF-8",
        "COLUMNS": "120",
    }


def _write(project: Path, files: Any) -> None:
    for name, text in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
        else:
            path.write_bytes(text.encode("utf-8", "surrogateescape"))


def _tree(root: Path) -> dict[str, tuple[Any, ...]]:
    """Return everything below: modes, contents, and where links lead."""
    paths = (path for path in root.rglob("*") if "ipython" not in path.parts)
    return {
        str(path.relative_to(root)): (
            path.lstat().st_mode,
            str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b"",
        )
        for path in paths
    }


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
