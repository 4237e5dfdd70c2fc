"""Show progress in a notebook, a terminal or a pipe. Steps and edges say what happens here; nobody else prints."""

from __future__ import annotations

import contextlib
import contextvars
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

_INTERVAL = 0.1  # seconds between two drawings of the moving line
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


class Screen(Protocol):
    """A place to show progress on."""

    def show(self, text: str) -> None:
        """Replace the moving line."""

    def keep(self, text: str) -> None:
        """Add a line that stays."""

    def close(self) -> None:
        """Take the moving line away."""


class Silent:
    """Shows nothing."""

    def show(self, text: str) -> None:
        pass

    def keep(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class Plain:
    """Plain lines for a pipe or a log: what begins and what is done, no moving parts."""

    def __init__(self, *, keep_to: Any = None) -> None:
        self._title = ""
        self._keep_to = keep_to

    def show(self, text: str) -> None:
        title = text.split(" · ", 1)[0]
        if title != self._title:
            self._title = title
            self._print(f"{title} ...", sys.stderr)

    def keep(self, text: str) -> None:
        self._print(text, self._keep_to or sys.stderr)

    def _print(self, text: str, file: Any) -> None:
        # One write: steps work side by side, and print() would write the end of the line by itself.
        file.write(f"{text}\n")
        file.flush()

    def close(self) -> None:
        pass


class Terminal:
    """One moving line at the bottom of a terminal."""

    def __init__(self, *, keep_to: Any = None) -> None:
        self._keep_to = keep_to

    def show(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1  # a terminal may wrap behind the last column
        print(f"\r\x1b[2K{text[:width]}", end="", file=sys.stderr, flush=True)

    def keep(self, text: str) -> None:
        self.close()
        print(text, file=self._keep_to or sys.stderr, flush=True)

    def close(self) -> None:
        print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


class Notebook:
    """One output of a notebook cell: the finished lines and, below them, the moving one."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._kept: list[str] = []

    def show(self, text: str) -> None:
        self._draw([*self._kept, f"… {text}"])

    def keep(self, text: str) -> None:
        self._kept.append(text)
        self._draw(self._kept)

    def close(self) -> None:
        # The cell's own result repeats the lines that were kept.
        if self._handle is not None:
            self._handle.update({"text/plain": "", "text/html": ""}, raw=True)

    def _draw(self, lines: list[str]) -> None:
        import html

        from IPython.display import display

        text = "\n".join(lines)
        bundle = {"text/plain": text, "text/html": f'<pre style="margin:0">{html.escape(text)}</pre>'}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


class _Activity:
    """The work that is going on now, drawn at most ten times a second."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.title = ""
        self._drawn = 0.0
        self._lock = threading.Lock()

    def draw(self, detail: str = "", *, at_once: bool = False) -> None:
        now = time.monotonic()
        with self._lock:
            if at_once or now - self._drawn >= _INTERVAL:
                self._drawn = now
                self.screen.show(f"{self.title} · {detail}" if detail else self.title)


_current: contextvars.ContextVar[_Activity | None] = contextvars.ContextVar("colab_env_activity", default=None)


def in_notebook() -> bool:
    """Say whether this process is a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def choose_screen(*, keep_to: Any = None) -> Screen:
    """Return the screen that fits where this process writes to."""
    if in_notebook():
        return Notebook()
    return (Terminal if sys.stderr.isatty() else Plain)(keep_to=keep_to)


@contextlib.contextmanager
def screen(chosen: Screen | None = None) -> Iterator[None]:
    """Show everything inside the block on one screen; inside another such block, on the outer one."""
    outer = _current.get()
    if outer is not None and chosen is None:
        yield
        return
    activity = _Activity(chosen or choose_screen())
    token = _current.set(activity)
    try:
        yield
    finally:
        activity.screen.close()
        _current.reset(token)


@contextlib.contextmanager
def activity(title: str) -> Iterator[None]:
    """Announce a piece of work; `line` and `progress` inside the block show how it goes."""
    with screen():
        current = _current.get()
        if current is not None:
            current.title = clean(title)
            current.draw(at_once=True)
        yield


def line(text: str) -> None:
    """Show the last line of a tool's output."""
    current = _current.get()
    if current is not None and text.strip():
        current.draw(clean(text.strip()))


def progress(done: int, total: int | None, seconds: float) -> None:
    """Show a transfer: bytes so far, bytes in all (None when unknown), seconds since it began."""
    current = _current.get()
    if current is None:
        return
    speed = done / seconds if seconds > 0 else 0.0
    bar = f"{_filled(done, total)} {done / 1e6:.1f}/{megabytes(total)}" if total else megabytes(done)
    parts = [bar, f"{megabytes(int(speed))}/s"]
    if total and speed and done < total:
        parts.append(f"{(total - done) / speed:.0f} s left")
    current.draw("  ".join(parts))


def packages(done: int, total: int, *, written: int, share: float, seconds: float) -> None:
    """Show an installation: packages fetched so far and in all, bytes written, seconds since it began.

    `share` is the part of the bytes that has arrived, from 0 to 1: the time left is reckoned from it.
    """
    current = _current.get()
    if current is None:
        return
    speed = written / seconds if seconds > 0 else 0.0
    # Short: with the title, it has to fit into the 80 columns of a terminal.
    parts = [f"{_filled(done, total, width=8)} {done}/{total} packages", f"{megabytes(written)} written"]
    parts.append(f"{megabytes(int(speed))}/s")
    if 0 < share < 1:
        parts.append(f"{(1 - share) * seconds / share:.0f} s left")
    current.draw("  ".join(parts))


def keep(text: str) -> None:
    """Add a line that stays on the screen."""
    current = _current.get()
    if current is not None:
        current.screen.keep(clean(text))


def tell(text: str) -> None:
    """Print a line that stays, for calls that return nothing."""
    print(clean(text), flush=True)


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


def _filled(done: int, total: int, *, width: int = 24) -> str:
    filled = min(width, width * done // max(total, 1))
    return f"[{'█' * filled}{'·' * (width - filled)}]"
