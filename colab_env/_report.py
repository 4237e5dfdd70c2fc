"""Show progress in a notebook, a terminal or a pipe. Steps and edges say what happens here; nobody else prints."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from colab_env._screens import Notebook, Plain, Screen, Silent, Terminal, Work, bar, duration, is_terminal, painted

if TYPE_CHECKING:
    from colab_env._log import Log

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
__all__ = ["Notebook", "Plain", "Screen", "Silent", "Terminal", "Work", "bar"]

_INTERVAL = 0.1  # seconds between two drawings of the moving line
_NOTEBOOK_INTERVAL = 0.4  # a page draws a card anew, which takes a browser more than a line takes a terminal
_TICK = 1.0  # seconds between two drawings of work that says nothing: its elapsed time goes on
VERBOSE = "COLAB_ENV_VERBOSE"
# What a tool prints for other programs, or about itself: it goes to the log, and to nobody's screen.
_NOT_FOR_PEOPLE = re.compile(
    r"[{\[]|DEBUG |\$ |WARNING: (?:Running pip as|Target directory|You are using pip)"
    r"|\d+\.\d+s - "  # debugpy, which ipykernel imports, about frozen modules
)
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]+@")
# Of an address, what follows "://": host, path, query, fragment.
_ADDRESS = re.compile(r"""(?<=://)([^\s/?#"'`<>\\|]+)([^\s?#"'`<>\\|]*)(\?[^\s#"'`<>\\|]*)?""")
_INDEX = re.compile(r"/.+?(?=/\+?simple(?:/|$))")
_FILE = re.compile(r"/.+(?=/[^/]+\.(?:whl|zip|tgz|sh|tar\.(?:gz|bz2|xz))\b)")
# Where this package itself downloads: everybody knows these paths, and needs them when a download fails.
_PUBLIC = frozenset({"repo.anaconda.com", "conda.anaconda.org", "github.com"})
_VALUE = re.compile(r"=[^&;]+")
_HIDDEN = "***"
_SECRET_NAME = re.compile(r"TOKEN|PASSWORD|PASSWD|SECRET|API_?KEY|ACCESS_KEY|PRIVATE_KEY|HTTP_BASIC|CREDENTIAL")
# Whose addresses may have a token in their path or query.
_INDEX_NAMES = (
    *("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX", "UV_FIND_LINKS"),
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "POETRY_PYPI_MIRROR_URL"),
)
_SHORTEST = 6  # characters of a secret: shorter ones are words such as "true"
# Colours and moves of the cursor (CSI), titles and links (OSC).
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


class _Task:
    """A piece of work that goes on: its title, and what was last heard of it."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.facts: tuple[str, ...] = ()
        self.fraction: float | None = None
        self.left: float | None = None
        self._began = time.monotonic()

    def work(self, *, is_new: bool = False) -> Work:
        seconds = time.monotonic() - self._began
        shown = {"facts": self.facts, "fraction": self.fraction, "left": self.left}
        return Work(title=self.title, seconds=seconds, is_new=is_new, **shown)  # type: ignore[arg-type]


class _Activity:
    """All the work that goes on now, drawn at most ten times a second and, when nothing is heard of it, every second."""

    def __init__(self, screen: Screen, *, is_verbose: bool, wording: Callable[[str], str]) -> None:
        self.screen = screen
        self.is_verbose = is_verbose
        self.wording = wording
        self.failure: tuple[BaseException, str] | None = None
        self.result: Any = None  # what the call returns, whose card stays in a notebook
        self._tasks: list[_Task] = []
        self._interval = _NOTEBOOK_INTERVAL if isinstance(screen, Notebook) else _INTERVAL
        self._drawn = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ticker: threading.Thread | None = None

    def begin(self, task: _Task) -> None:
        """Add a piece of work and show it."""
        with self._lock:
            self._tasks.append(task)
            self._drawn = time.monotonic()
            self.screen.show(task.work(is_new=True))
            if self._ticker is None and isinstance(self.screen, (Terminal, Notebook)):
                # A copy of this context: a notebook's output goes to the cell that the work belongs to.
                target = contextvars.copy_context().run
                self._ticker = threading.Thread(target=target, args=(self._tick,), daemon=True)
                self._ticker.start()

    def end(self, task: _Task) -> None:
        with self._lock:
            self._tasks.remove(task)

    def draw(self) -> None:
        """Show one of the tasks that go on side by side: one that has a bar, else the last that began."""
        moment = time.monotonic()
        with self._lock:
            if self._tasks and moment - self._drawn >= self._interval:
                self._drawn = moment
                front = next((task for task in reversed(self._tasks) if task.fraction is not None), self._tasks[-1])
                self.screen.show(front.work())

    def keep(self, text: str) -> None:
        with self._lock:
            self.screen.keep(text)

    def close(self, failure: str | None) -> None:
        self._ended.set()
        if self._ticker is not None:
            self._ticker.join()
        self.screen.close(failure, None if failure else self.result)

    def _tick(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the stop button is the main thread's
        while not self._ended.wait(_TICK):
            self.draw()


_current: contextvars.ContextVar[_Activity | None] = contextvars.ContextVar("colab_env_activity", default=None)
_task: contextvars.ContextVar[_Task | None] = contextvars.ContextVar("colab_env_task", default=None)
_log: contextvars.ContextVar[Log | None] = contextvars.ContextVar("colab_env_log", default=None)
# The number of a cell, and the value whose card a call has put into it.
_on_page: contextvars.ContextVar[tuple[int, Any]] = contextvars.ContextVar("colab_env_on_page", default=(-1, None))


def in_notebook() -> bool:
    """Say whether this process is a Jupyter kernel."""
    return _cell_number() is not None


def _cell_number() -> int | None:
    """Return the number of the cell that runs, or None where this process is no Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell: Any = None if ipython is None else ipython.get_ipython()
    return None if getattr(shell, "kernel", None) is None else int(shell.execution_count)


def is_on_page(value: object) -> bool:
    """Say whether the cell that runs shows the card of this value already."""
    number, shown = _on_page.get()
    return shown is value and number == _cell_number()


def choose_screen(*, keep_to: Any = None) -> Screen:
    """Return the screen that fits where this process writes to."""
    if in_notebook():
        return Notebook()
    moves = is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
    return (Terminal if moves else Plain)(keep_to=keep_to)


@contextlib.contextmanager
def screen(
    chosen: Screen | None = None, *, is_verbose: bool = False, wording: Callable[[str], str] = str
) -> Iterator[_Activity]:
    """Show everything inside the block on one screen; inside another such block, on the outer one.

    Where it `is_verbose`, or COLAB_ENV_VERBOSE is set, the lines that tools print stay. `wording` turns what steps say,
    which speaks Python, into the language of who reads it.
    """
    outer = _current.get()
    if outer is not None and chosen is None:
        yield outer
        return
    is_verbose = is_verbose or bool(os.environ.get(VERBOSE))
    current = _Activity(chosen or choose_screen(), is_verbose=is_verbose, wording=wording)
    token = _current.set(current)
    failure = None
    try:
        yield current
    except BaseException as error:
        current.result = None
        if current.failure is not None and current.failure[0] is error:
            failure = current.failure[1]
        raise
    finally:
        current.close(failure)
        _current.reset(token)
        if current.result is not None and (number := _cell_number()) is not None:
            _on_page.set((number, current.result))


def ends_in_card(verb: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Let a function's work be one card in a notebook, which stays with what it returns, wherever in a cell it is called."""

    @functools.wraps(verb)
    def call(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        with screen() as shown:
            result = shown.result = verb(*arguments, **options)
        return result

    return call


@contextlib.contextmanager
def activity(title: str) -> Iterator[None]:
    """Announce a piece of work; `line` and `progress` inside the block show how it goes."""
    with screen():
        current, task = _current.get(), _Task(clean(title))
        token = _task.set(task)
        log(f"{task.title} ...", waits=True)
        if current is not None:
            current.begin(task)
        try:
            yield
        except BaseException as error:
            # The innermost work that an error ends is what failed; an error that somebody handles is forgotten.
            if current is not None and (current.failure is None or current.failure[0] is not error):
                current.failure = error, task.title
            raise
        finally:
            _task.reset(token)
            if current is not None:
                current.end(task)


def _show(*facts: str, fraction: float | None = None, left: float | None = None) -> None:
    """Say how the work of this context goes; the time that is left comes behind the first fact."""
    current, task = _current.get(), _task.get()
    if current is not None and task is not None:
        time_left = [] if left is None else [f"{duration(max(left, 1.0))} left"]
        task.facts, task.fraction, task.left = (*facts[:1], *time_left, *facts[1:]), fraction, left
        current.draw()


def line(text: str) -> None:
    """Show the last line of a tool's output, if it is for people; every line goes to the log."""
    text, current = clean(text.strip()), _current.get()
    if not text:
        return
    log(f"    {text}")
    if current is not None and current.is_verbose:
        current.keep(f"    {text}")
    elif not _NOT_FOR_PEOPLE.match(text):
        _show(text)


def ended(text: str) -> None:
    """Write to the log how a tool ended, and take its last line away: the work goes on, and is no longer the tool's."""
    log(text)
    task = _task.get()
    if task is not None:
        task.facts, task.fraction, task.left = (), None, None


def progress(done: int, total: int | None, seconds: float) -> None:
    """Show a transfer: bytes so far, bytes in all (None when unknown), seconds since it began."""
    speed = done / seconds if seconds > 0 else 0.0
    amount = f"{done / 1e6:.1f}/{megabytes(total)}" if total else megabytes(done)
    remaining = (total - done) / speed if total and speed and done < total else None
    _show(amount, f"{megabytes(int(speed))}/s", fraction=done / total if total else None, left=remaining)


def packages(done: int, total: int, *, written: int, share: float, seconds: float) -> None:
    """Show an installation: packages fetched so far and in all, bytes written, seconds since it began.

    `share` is the part of the bytes that has arrived, from 0 to 1: the bar and the time left go by it.
    """
    speed = written / seconds if seconds > 0 else 0.0
    remaining = (1 - share) * seconds / share if 0 < share < 1 else None
    written_facts = (f"{megabytes(written)} written", f"{megabytes(int(speed))}/s")
    _show(f"{done}/{total} packages", *written_facts, fraction=share, left=remaining)


def keep(text: str) -> None:
    """Add a line that stays on the screen."""
    log(text, waits=True)
    current = _current.get()
    if current is not None:
        current.keep(current.wording(clean(text)))


@contextlib.contextmanager
def logging_to(file: Log) -> Iterator[None]:
    """Write everything inside the block to a log; inside another such block, to the outer one."""
    if _log.get() is not None:
        yield
        return
    token = _log.set(file)
    try:
        yield
    finally:
        _log.reset(token)
        file.close()


def log(text: str, *, waits: bool = False) -> None:
    """Add a line to the log, if there is one; see `Log.write`."""
    file = _log.get()
    if file is not None:
        file.write(clean(text), waits=waits)


def log_path() -> Path | None:
    """Return the log that this run has written to, or None."""
    file = _log.get()
    return file.path if file is not None and file.is_open else None


def tell(text: str) -> None:
    """Print a line that stays, for calls that return nothing."""
    print(painted(clean(text), sys.stdout), flush=True)


def clean(text: str, hidden: Mapping[str, str] | None = None) -> str:
    """Remove terminal escapes, and what may be a secret: what `hidden` names, and parts of addresses.

    Those are names and passwords, what a query says, and the path in front of an index's `/simple` or of a package's
    file: there services put tokens.
    """
    text = _ESCAPES.sub("", text)
    if "://" in text:
        text = _ADDRESS.sub(_without_secrets, _CREDENTIALS.sub(f"{_HIDDEN}@", text))
    for secret, substitute in (hidden or {}).items():
        text = text.replace(secret, substitute)
    return text


def hidden(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a program with this environment may print and nobody shall see, and what is shown instead.

    Those are its secrets, and the paths of its indexes, which mean nothing but behind their hosts.
    """
    secrets = {value: _HIDDEN for name, value in environ.items() if _SECRET_NAME.search(name)}
    for name in _INDEX_NAMES:
        for host, path, query in _ADDRESS.findall(_CREDENTIALS.sub("", environ.get(name, "").replace(",", " "))):
            if path.strip("/") not in ("", "simple"):
                secrets[host + path.rstrip("/")] = f"{host}/{_HIDDEN}"
            secrets |= dict.fromkeys(re.split("[?&;=]", query), _HIDDEN)
    # The longest first: a shorter one may be part of it.
    return {secret: secrets[secret] for secret in sorted(secrets, key=len, reverse=True) if len(secret) >= _SHORTEST}


def address(text: str) -> str:
    """Return what a requirement names, as a table shows it: of an address, the host and the last part."""
    start, mark, rest = text.partition("://")
    host, slash, path = clean(f"{start}{mark}{rest}").partition("://")[2].partition("/")
    if not mark or not host or "/" not in path.rstrip("/"):
        return clean(text)
    path, _, _ = path.partition("?")
    return f"{start}{mark}{host}{slash}{_HIDDEN}/{path.rstrip('/').rpartition('/')[2]}"


def _without_secrets(match: re.Match[str]) -> str:
    host, path, query = match[1], match[2], match[3] or ""
    if host not in _PUBLIC and (private := _INDEX.match(path) or _FILE.match(path)):
        path = f"/{_HIDDEN}{path[private.end() :]}"
    if query:
        query = _VALUE.sub(f"={_HIDDEN}", query) if "=" in query else f"?{_HIDDEN}"
    return f"{host}{path}{query}"


def megabytes(count: int) -> str:
    """Write a number of bytes in megabytes (10^6)."""
    return f"{count / 1e6:.1f} MB"


def short(path: Path | str) -> str:
    """Write a path as people do, with `~` for the home directory."""
    home = os.path.expanduser("~")  # noqa: PTH111 - as Path.home() does, for half of its time
    text = str(path)
    return "~" + text[len(home) :] if text == home or text.startswith(home + "/") else text


def as_word(path: Path | str) -> str:
    """Write a path as a shell takes it, in a command that somebody is to type."""
    import shlex

    text = short(path)
    text = f"./{text}" if text.startswith("-") else text  # no option
    return (
        text if re.fullmatch(r"[\w@%+=:,./~-]+", text) else shlex.quote(text if text.startswith("./-") else str(path))
    )
