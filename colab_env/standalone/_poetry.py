"""The command `poetry`: Poetry, told to read the package index in the way in which this index answers.

Poetry's built-in source wants three answers of PyPI's: a package's files as JSON (PEP 691), `/pypi/NAME/json` and
`/pypi/NAME/VERSION/json`. Mirrors and proxies give any of them, and may give others tomorrow. Where one is missing, the plugin
poetry-plugin-pypi-mirror, which lies beside Poetry, reads the simple index of the same address (PEP 503), as pip and
uv do; project and lock file stay as they are. Sources of the project's own are Poetry's business alone.

Runs in Poetry's own process, for people and for colab_env alike, and asks with the `requests` that Poetry brings.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

NOTE = "This package index answers Poetry only in part; Poetry now reads its simple pages, as pip does."
UVS = (
    "This project names no Poetry, and uv resolves it: write the package into `dependencies` of [project] in pyproject.toml, "
    "beside a `name` and a `version`, then run `colab-env setup`."
)
SIMPLE_URL = "POETRY_PYPI_MIRROR_URL"  # the plugin reads the simple index of this address
_AGAIN = "COLAB_ENV_POETRY_AGAIN"  # this is the second run, whatever could be remembered of the first
VERSION = 1  # of the file that remembers what an index answers
# What asks the index, and may be done again after it failed.
_RESOLVING = frozenset(("add", "export", "install", "lock", "remove", "sync", "update"))
# What never asks it, or is out of the plugin's reach: before there is a project, and for Poetry's own packages.
_OTHERS = frozenset(
    ("about", "cache", "check", "config", "env", "help", "init", "list", "new", "run", "self", "shell", "version")
)
_PLAIN = frozenset(("--help", "-h", "--version", "-V", "--no-plugins"))
# An index that lacked an answer is asked again after a day, one that gave them all after an hour: a proxy may have changed
# its mind, and Poetry takes longer to load than the index to answer.
_SECONDS = {True: 3600, False: 24 * 3600}
_SOON = 600  # seconds until an index is asked again that could not be asked, or had a passing fault
_SAMPLES = ("pip", "poetry")  # whoever installed Poetry from an index has both there
_PASSING = (408, 425, 429)  # status codes of faults that pass; those from 500 on are others
_MOST_NAMES = 20  # packages to look for after a failure: each costs a request
_SIMPLE = "application/vnd.pypi.simple.v1+json, */*;q=0.1"
_LINK = re.compile(r"""(?i)href\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_FILE = re.compile(r"(?i)[^/]+\.(?:whl|tar\.gz|zip)")
_WHEEL = re.compile(r"[^-]+-([^-]+)-.*\.whl")


def main(memory: Path, words: list[str]) -> int:
    """Run Poetry with these words and return its exit code; `memory` is the file that remembers what indexes answer."""
    verb = next((word for word in words if not word.startswith("-")), "")
    code = _run(memory, words, verb)
    if code and verb in ("add", "remove") and _is_uvs():
        sys.stderr.write(f"\n{UVS}\n")
    return code


def _is_uvs() -> bool:
    """Say whether colab-env let uv resolve the project that is worked on: nothing in it names Poetry."""
    with contextlib.suppress(OSError, UnicodeError):
        text = Path("pyproject.toml").read_text(encoding="utf-8")
        names_poetry = "[tool.poetry" in text or Path("poetry.lock").exists()
        return Path(".venv/colab-env.json").exists() and not names_poetry
    return False


def _run(memory: Path, words: list[str], verb: str) -> int:
    sys.argv = ["poetry", *words]
    if os.environ.get(SIMPLE_URL) or verb in _OTHERS or not verb or not _PLAIN.isdisjoint(words):
        return _poetry()
    # The address of Poetry's built-in source, without /simple.
    import inspect

    from poetry.repositories.pypi_repository import PyPiRepository

    # Not from a repository, which would read Poetry's settings: whatever is wrong there, Poetry says better.
    index = str(inspect.signature(PyPiRepository).parameters["url"].default).rstrip("/")
    # An export from a lock file that exists asks nobody.
    is_locked = "export" in words and Path("poetry.lock").exists()
    resolves = not _RESOLVING.isdisjoint(words) and not is_locked
    complete = _is_complete(index, memory, words) if resolves else _read(memory).get(index, {}).get("complete")
    if os.environ.pop(_AGAIN, None) or complete is False:
        _use_simple_pages(index)
        return _poetry()
    return _watched(index, memory, words) if resolves else _poetry()


def _poetry() -> int:
    from poetry.console.application import main as run

    try:
        return int(run() or 0)
    except SystemExit as ended:  # cleo's way to end
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)


def _use_simple_pages(index: str) -> None:
    """Let the plugin read the simple pages, unless Poetry's settings, which may be the project's, name another mirror."""
    os.environ[SIMPLE_URL] = f"{index}/simple"
    with contextlib.suppress(ImportError, AttributeError):
        from poetry_plugin_pypi_mirror.plugins import PyPIMirrorPlugin

        activate: Callable[..., None] = PyPIMirrorPlugin.activate

        def activated(plugin: Any, poetry: Any, io: Any) -> None:
            with contextlib.suppress(AttributeError):
                if poetry.config.get("plugins", {}).get("pypi_mirror", {}).get("url"):
                    os.environ.pop(SIMPLE_URL, None)
            activate(plugin, poetry, io)

        PyPIMirrorPlugin.activate = activated


def _is_complete(index: str, memory: Path, words: Sequence[str]) -> bool | None:
    """Say whether the index gives every answer; None where that was never to be found out. Poetry loads meanwhile."""
    entry = _read(memory).get(index, {"complete": None, "again": 0})
    if 0 <= entry["again"] - time.time() < max(_SECONDS.values()):
        return entry["complete"]  # type: ignore[no-any-return]
    heard: list[tuple[bool | None, bool]] = []
    asking = threading.Thread(target=lambda: heard.append(_ask(index)), daemon=True)
    asking.start()
    import poetry.console.application  # noqa: F401

    asking.join()
    complete, lasts = heard[0] if heard else (None, False)
    if complete is None:
        complete = entry["complete"]
    _remember(memory, index, complete=complete, seconds=_SECONDS[complete] if lasts and complete is not None else _SOON)
    if complete is False and entry["complete"] is not False:
        _say(NOTE, words)
    return complete


def _ask(index: str) -> tuple[bool | None, bool]:
    """Return whether the index gives every answer, or None, and whether that is more than a passing fault."""
    for name in _SAMPLES:
        answer = _get(f"{index}/simple/{name}/", accept=_SIMPLE)
        if _is_passing(answer):
            return None, False
        files = _files(answer)
        if not files:
            continue
        versions = [match[1] for match in map(_WHEEL.fullmatch, files) if match]
        # Poetry 2.1.0 does not take relative addresses from JSON, although PEP 691 allows them; 2.5.1 does.
        if not versions or not _has_whole_addresses(answer):
            return False, True
        answers = _side_by_side(f"{index}/pypi/{name}/json", f"{index}/pypi/{name}/{versions[-1]}/json")
        return all(_is_json(answer, "info", "urls") for answer in answers), not any(map(_is_passing, answers))
    return None, False


def _has_whole_addresses(answer: Any) -> bool:
    document = _document(answer)
    listed = document.get("files") if isinstance(document, dict) else None
    first = listed[0] if isinstance(listed, list) and listed else None
    return isinstance(first, dict) and str(first.get("url")).startswith("http")


def _side_by_side(*addresses: str) -> list[Any]:
    # Threads that nobody waits for at the end, unlike those of a pool: the stop button counts at once.
    answers: dict[str, Any] = {}

    def ask(address: str) -> None:
        answers[address] = _get(address)

    threads = [threading.Thread(target=ask, args=(address,), daemon=True) for address in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers.get(address) for address in addresses]


def _get(address: str, *, accept: str = "application/json") -> Any:
    import requests
    from poetry.utils.constants import REQUESTS_TIMEOUT

    try:
        return requests.get(address, headers={"Accept": accept}, timeout=REQUESTS_TIMEOUT)
    except (requests.RequestException, OSError, ValueError):  # some addresses raise the latter
        return None


def _is_passing(answer: Any) -> bool:
    return answer is None or answer.status_code in _PASSING or answer.status_code >= 500


def _is_json(answer: Any, *keys: str) -> bool:
    # A page to sign in comes with 200 as well.
    document = _document(answer)
    return isinstance(document, dict) and all(key in document for key in keys)


def _files(answer: Any) -> list[str]:
    """Return the names of the files on a simple page, JSON or HTML; none where it is no such page."""
    document = _document(answer)
    if isinstance(document, dict):
        listed = document.get("files")
        entries = listed if isinstance(listed, list) else []
        return [str(entry.get("filename")) for entry in entries if isinstance(entry, dict)]
    if answer is None or answer.status_code != 200:
        return []
    addresses = map("".join, _LINK.findall(answer.content.decode("utf-8", "replace")))
    names = (re.split("[#?]", address.strip(), maxsplit=1)[0].rpartition("/")[2] for address in addresses)
    return [name for name in names if _FILE.fullmatch(name)]


def _document(answer: Any) -> Any:
    if answer is None or answer.status_code != 200:
        return None
    try:
        return answer.json()
    except (ValueError, RecursionError):
        return None


def _watched(index: str, memory: Path, words: Sequence[str]) -> int:
    """Run Poetry; once more, on the simple pages, if it failed and they have what the index had refused."""
    refused, stopped = _watch(index), _note_stop()
    code = _poetry()
    if code == 0 or stopped:
        return code
    names = sorted({address[len(index) :].split("/")[2] for address in refused})
    pages = (_get(f"{index}/simple/{name}/", accept=_SIMPLE) for name in names[:_MOST_NAMES])
    if any(map(_files, pages)):
        _remember(memory, index, complete=False, seconds=_SECONDS[False])
        _say(f"{NOTE} Once more:", words)
        sys.stdout.flush()
        os.environ[_AGAIN] = "1"
        os.execv(sys.executable, [sys.executable, "-I", __file__, str(memory), *words])  # noqa: S606
    return code


def _watch(index: str) -> set[str]:
    """Return a set that will hold the addresses at which the index refuses an answer to Poetry."""
    import requests

    refused: set[str] = set()
    send = requests.Session.send
    of_package = re.compile(re.escape(index) + "/(?:pypi|simple)/[^/]+/")

    def watched(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        address = request.url or ""
        if of_package.match(address):
            refused.add(address)  # it stays, should what follows raise
        answer = send(session, request, **options)
        if answer.status_code == 200 and "json" in answer.headers.get("Content-Type", ""):
            refused.discard(address)
        return answer

    requests.Session.send = watched  # type: ignore[assignment,method-assign]
    return refused


def _note_stop() -> list[int]:
    """Return a list that is no longer empty once the stop button was pressed: Poetry ends with 1 then, as after a failure."""
    pressed: list[int] = []

    def stop(number: int, frame: Any) -> None:
        pressed.append(number)
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)
    return pressed


def _read(memory: Path) -> dict[str, dict[str, Any]]:
    try:
        document = json.loads(memory.read_text(encoding="utf-8"))
        entries = document["indexes"].items() if document["version"] == VERSION else ()
        return {index: entry for index, entry in entries if _is_entry(entry)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}  # damaged, of another version, or not there: nothing is known


def _is_entry(entry: dict[str, Any]) -> bool:
    return isinstance(entry["complete"], (bool, type(None))) and isinstance(entry["again"], (int, float))


def _remember(memory: Path, index: str, *, complete: bool | None, seconds: int) -> None:
    indexes = {**_read(memory), index: {"complete": complete, "again": int(time.time()) + seconds}}
    temporary = memory.with_name(f".{memory.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps({"version": VERSION, "indexes": indexes}, indent=1), encoding="utf-8")
        temporary.replace(memory)
    except OSError:
        with contextlib.suppress(OSError):  # it will be asked again
            temporary.unlink()


def _say(text: str, words: Sequence[str]) -> None:
    if {"-q", "--quiet"}.isdisjoint(words):
        print(text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
    except KeyboardInterrupt:
        sys.exit(130)
