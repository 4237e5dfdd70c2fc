"""Run other programs: the only module that starts processes, and that ends those which a dead run left."""

from __future__ import annotations

import contextlib
import contextvars
import errno
import io
import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, cast

from colab_env import _files, _orphans, _report
from colab_env.errors import CommandError

if TYPE_CHECKING:
    from concurrent.futures import Future

# Of what a program prints, for its error and for who reads its answer: uv says first which build failed, then all that it printed.
_FIRST_LINES, _LAST_LINES = 40, 400
_SHOWN_LINES = 12  # of these, in the error
_ERROR = re.compile(r"\berror\b ?:|\bfatal:|^\w*Error\b|\bCMake Error\b", re.IGNORECASE)
_GLANCE = 0.2  # seconds between two looks at work that goes on elsewhere
_GRACE = 5.0  # seconds between SIGTERM and SIGKILL
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)  # the machine's fault, not the program's
# The stop button, and the two that `stoppable` makes the same.
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# A child that inherits these works with the notebook server's Python instead of its own (facts of Colab: PYTHONPATH,
# UV_SYSTEM_PYTHON), or fails at the first plot (MPLBACKEND).
_FOREIGN = frozenset({
    "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONDONTWRITEBYTECODE", "PYTHONEXECUTABLE", "PYTHONSAFEPATH",
    "__PYVENV_LAUNCHER__", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "CONDA_SHLVL",
    "UV_SYSTEM_PYTHON", "UV_CONSTRAINT", "UV_PYTHON", "UV_PROJECT_ENVIRONMENT", "MPLBACKEND", "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_USER", "PIP_REQUIRE_VIRTUALENV",
    "COLAB_ENV_SNAPSHOT_KEY",  # a secret, and no tool of ours needs it
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A program that has ended: its exit code and the last lines it printed, both streams together."""

    argv: tuple[str, ...]
    returncode: int
    lines: tuple[str, ...]

    @property
    def output(self) -> str:
        return "\n".join(self.lines)


class Follower(Protocol):
    """Watches a program at work."""

    def on_line(self, line: str) -> bool:
        """Look at a line that it prints; True means that nobody else needs it."""

    def on_tick(self, pid: int) -> None:
        """Look at the running program, five times a second."""


def child_environ(environ: Mapping[str, str], **changes: str) -> dict[str, str]:
    """Return the environment for a child: the machine's, less what belongs to another Python, plus `changes`.

    The null keyring keeps an unattended tool from waiting for a password that nobody types.
    """
    inherited = {name: value for name, value in environ.items() if name not in _FOREIGN}
    # A keyring that the user has chosen wins. Unbuffered, because a child's last line is shown while it works.
    return {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring", **inherited, "PYTHONUNBUFFERED": "1", **changes}


def run(
    argv: Sequence[str | Path],
    *,
    environ: Mapping[str, str],
    cwd: Path | None = None,
    check: bool = True,
    stdin: str | None = None,
    follow: Follower | None = None,
) -> Finished:
    """Run a program to its end, showing its last line meanwhile, or what `follow` makes of it.

    Raises CommandError when it cannot be started or, with `check`, ends with another code than 0. An exception in this
    process, the stop button included, ends the program's whole process group first. When this process is killed, the
    program is killed too; what it had started itself ends with the next `end_orphans`.
    """
    words, began, hidden = tuple(str(word) for word in argv), time.monotonic(), _report.hidden(environ)
    _report.log(_report.clean(f"$ {shlex.join(words)}", hidden))
    with _started(words, environ=environ, cwd=cwd, stdin=stdin) as child, _followed(child, follow):
        lines = _read(child, follow, hidden)
        returncode = child.wait()
    _report.ended(f"{Path(words[0]).name}: exit code {returncode}, {time.monotonic() - began:.1f} s")
    stop_if_asked()  # a task that was stopped meanwhile stops this one too
    finished = Finished(argv=words, returncode=returncode, lines=lines)
    # With a parent-death signal it is setpriv that is started, and that says so when the program cannot be.
    if returncode in (126, 127) and lines and lines[-1].startswith("setpriv: failed to execute"):
        raise _cannot_start(words, lines[-1].rpartition(": ")[2])
    if check and returncode:
        raise failed(finished)
    return finished


def output_chunks(argv: Sequence[str | Path], *, environ: Mapping[str, str], size: int = 2**20) -> Iterator[bytes]:
    """Run a program and give what it prints, as bytes and as it comes: too much to be kept.

    Raises CommandError when it cannot be started or ends with another code than 0; it is ended when nobody reads on.
    """
    words = tuple(str(word) for word in argv)
    with _started(words, environ=environ, cwd=None, stdin=None) as child:
        stream = cast("io.TextIOWrapper", child.stdout).buffer
        while chunk := stream.read(size):
            yield bytes(chunk)
        # Nothing is kept of the output, so an error has no lines of it.
        returncode = child.wait()
    if returncode:
        raise failed(Finished(argv=words, returncode=returncode, lines=()))


def become(program: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Run a program in the place of this process: its terminal, its process id, its exit code."""
    sys.stdout.flush()  # execve throws away what Python has not written yet
    sys.stderr.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and a new program would go on to
        signal.signal(number, signal.SIG_DFL)
    os.execve(program, [str(program), *arguments], dict(environ))  # noqa: S606  that is the point


def signal_group(pid: int, number: int) -> None:
    """Send a signal to a program and all that it started; do not fail if it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def decisive_lines(lines: Iterable[str]) -> list[str]:
    """Return at most about a dozen of a failed program's lines: its first and last errors, and how it ends."""
    # Without frames of stars and carets, and pip's word about itself.
    texts = [line for line in lines if re.search(r"\w", line) and not line.startswith("[notice]")]
    errors = [number for number, line in enumerate(texts) if _ERROR.search(line)]
    chosen = {*errors[:3], *errors[-3:]}
    # CMake says where first, and what below.
    chosen.update(
        number + 1 for number in list(chosen) if "CMake Error at" in texts[number] and number + 1 < len(texts)
    )
    last = range(len(texts) - 1, -1, -1)
    chosen.update([number for number in last if number not in chosen][: _SHOWN_LINES - len(chosen)])
    return [texts[number] for number in sorted(chosen)]


def failed(
    finished: Finished, *, kind: type[CommandError] = CommandError, message: str | None = None, hint: str | None = None
) -> CommandError:
    """Make the error for a program that ended badly, with those of its lines that say why."""
    tail = decisive_lines(finished.lines)
    message = message or f"`{_short_command(finished.argv)}` ended with exit code {finished.returncode}"
    text = "\n".join([message, *(f"    {line}" for line in tail)])
    return kind(text, hint=hint, returncode=finished.returncode, lines=finished.lines)


def _short_command(argv: Sequence[str]) -> str:
    """Return a command as people name it, such as `uv pip install …`: the log has all of it."""
    verbs = itertools.takewhile(lambda word: re.fullmatch(r"[a-z][a-z-]*", word), argv[1:3])
    words = [Path(argv[0]).name, *verbs]
    return " ".join([*words, *(["…"] if len(argv) > len(words) else [])])


_First = TypeVar("_First")
_Second = TypeVar("_Second")


class _TaskGroup:
    """Tasks that run side by side, and the programs they have started."""

    def __init__(self) -> None:
        self.children: list[subprocess.Popen[str]] = []
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
        for child in tuple(self.children):
            _end_group(child)


_task_group: contextvars.ContextVar[_TaskGroup | None] = contextvars.ContextVar("colab_env_team", default=None)


def run_parallel(first: Callable[[], _First], second: Callable[[], _Second]) -> tuple[_First, _Second]:
    """Run two independent tasks side by side and return their results.

    The first exception is raised after all have ended. The stop button reaches the main thread only: it ends the
    programs of every task, those of tasks that such a task runs included, so that each takes its own steps back.
    """
    from concurrent.futures import ThreadPoolExecutor

    # A task inside a task joins the outer group: the stop button then ends the programs of both.
    tasks = _task_group.get() or _TaskGroup()
    token = _task_group.set(tasks)
    try:
        with ThreadPoolExecutor(2) as pool:
            try:
                # A thread starts with an empty context: without a copy the steps in it would record nothing.
                one = pool.submit(contextvars.copy_context().run, first)
                other = pool.submit(contextvars.copy_context().run, second)
                _wait_for(one, other)
                return one.result(), other.result()
            except KeyboardInterrupt:
                tasks.stop()
                raise
    finally:
        _task_group.reset(token)


def _wait_for(*futures: Future[Any]) -> None:
    from concurrent.futures import FIRST_COMPLETED, wait

    pending = set(futures)
    while pending:
        # In short waits: a signal that another thread receives does not end the main thread's wait.
        done, pending = wait(pending, timeout=_GLANCE, return_when=FIRST_COMPLETED)
        for future in done:
            if isinstance(future.exception(), KeyboardInterrupt):
                future.result()


def stop_if_asked() -> None:
    """Raise KeyboardInterrupt in a task whose group was stopped."""
    tasks = _task_group.get()
    if tasks is not None and tasks.stopped:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _started(words: tuple[str, ...], *, environ: Mapping[str, str], cwd: Path | None, stdin: str | None) -> Any:
    child: subprocess.Popen[str] | None = None
    try:
        # Inside: the stop button may be pressed just when its handler is put back.
        with _stop_deferred() as pressed:
            child = _start(words, environ=environ, cwd=cwd, has_input=stdin is not None)
        if pressed:
            signal.raise_signal(pressed[0])  # its own handler raises, and what follows ends the program, too
        stop_if_asked()
        if stdin is not None and child.stdin is not None:
            # A program that ended before it read says why in its lines.
            with contextlib.suppress(BrokenPipeError), child.stdin:
                child.stdin.write(stdin)
        yield child
    except BaseException:
        if child is not None:
            _end_group(child)
        raise
    finally:
        if child is not None and child.stdout is not None:
            child.stdout.close()
        if child is not None and (tasks := _task_group.get()):
            tasks.children.remove(child)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as the stop button does; then this process ends by that signal, as asked.

    Handlers of somebody else stay, and so does a SIGHUP that `nohup` ignores.
    """
    received: list[int] = []

    def stop(number: int, _frame: object) -> None:
        received.append(number)
        if len(received) == 1:  # a second one shall not end the clean-up
            raise KeyboardInterrupt

    try:
        with _handling((signal.SIGTERM, signal.SIGHUP), stop, current=signal.SIG_DFL):
            yield
    finally:
        if received:
            os.kill(os.getpid(), received[0])


@contextlib.contextmanager
def _stop_deferred() -> Iterator[list[int]]:
    """Note the stop button instead of raising: a program that has just started is not known yet, and nobody ended it."""
    pressed: list[int] = []
    with contextlib.ExitStack() as handlers:
        for number in _STOPS:
            handler = signal.getsignal(number)
            # Only Python's own handler and ours: one that a notebook or a program has set keeps its meaning.
            if handler is signal.default_int_handler or getattr(handler, "__module__", None) == __name__:
                handlers.enter_context(_handling((number,), lambda got, _: pressed.append(got), current=handler))
        yield pressed


@contextlib.contextmanager
def _handling(numbers: Sequence[int], handler: Any, *, current: Any) -> Iterator[None]:
    """Set a handler for those signals that have the one named, in the main thread; elsewhere nothing can be set."""
    # signal.signal raises ValueError in any other thread.
    is_main = threading.current_thread() is threading.main_thread()
    taken = [number for number in numbers if is_main and signal.getsignal(number) is current]
    for number in taken:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, current)


def _start(
    words: tuple[str, ...], *, environ: Mapping[str, str], cwd: Path | None, has_input: bool
) -> subprocess.Popen[str]:
    stop_if_asked()
    try:
        child = subprocess.Popen(
            [*_dying_with_this_process(words, environ=environ), *words],
            env=_orphans.owned(environ),
            cwd=cwd,
            stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # a group of its own: what it starts can be ended with it
        )
    except OSError as error:
        if error.errno in _SHORT:
            raise _files.translate_error(error, Path(words[0])) from error
        where = f" in {cwd}" if cwd is not None and not cwd.is_dir() else ""
        raise _cannot_start(words, f"{error.strerror}{where}") from error
    if tasks := _task_group.get():
        tasks.children.append(child)
    return child


def _cannot_start(words: tuple[str, ...], reason: str) -> CommandError:
    msg = f"cannot start {words[0]}: {reason}"
    return CommandError(msg, hint="check that the file exists and may be executed", returncode=126)


def _dying_with_this_process(words: tuple[str, ...], *, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the command that starts another one with a parent-death signal, or nothing where that cannot be had.

    The system call itself would have to run between fork and exec, where Python may not run safely beside other threads.
    """
    program = shutil.which(words[0], path=environ.get("PATH"))
    setpriv = shutil.which("setpriv", path=os.defpath)
    # What cannot be started is to fail in this process. BusyBox's has no such option.
    if program is None or setpriv is None or os.path.realpath(setpriv).endswith("busybox"):
        return ()
    return (setpriv, "--pdeathsig", "KILL", "--")


@contextlib.contextmanager
def _followed(child: subprocess.Popen[str], follow: Follower | None) -> Iterator[None]:
    if follow is None:
        yield
        return
    ended = threading.Event()

    def look() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the stop button is the main thread's
        while not ended.wait(_GLANCE):
            follow.on_tick(child.pid)

    # A copy of this context: it knows the screen.
    watcher = threading.Thread(target=contextvars.copy_context().run, args=(look,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _read(child: subprocess.Popen[str], follow: Follower | None, hidden: Mapping[str, str]) -> tuple[str, ...]:
    first: list[str] = []
    last: deque[str] = deque(maxlen=_LAST_LINES)
    stream = cast("io.TextIOWrapper", child.stdout)
    stream.reconfigure(newline="")  # else Python makes line ends of the carriage returns that move a progress bar
    moving = False  # a progress bar: the last line ended with a carriage return, and the next one overwrites it
    for raw in stream:
        text = _report.clean(raw.rstrip("\r\n"), hidden)
        if follow is not None and follow.on_line(text):
            _report.log(f"    {text}")
            continue
        if moving:
            (last or first).pop()
        moving = raw.endswith("\r")
        (first if len(first) < _FIRST_LINES else last).append(text)
        _report.line(text)
    return (*first, *last)


def _end_group(child: subprocess.Popen[str]) -> None:
    # The group, not the child: an installer's shell dies on SIGTERM and leaves its helpers writing.
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        if _group_has_ended(child):
            return


def _group_has_ended(child: subprocess.Popen[str]) -> bool:
    deadline = time.monotonic() + _GRACE
    while time.monotonic() < deadline:
        # Who has ended and was not waited for still counts as a member of its group.
        child.poll()
        try:
            os.killpg(child.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False
