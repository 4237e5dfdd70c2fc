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
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NOTE = "This package index answers Poetry only in part; Poetry now reads its simple pages, as pip does."
SIMPLE_URL = "POETRY_PYPI_MIRROR_URL"  # the plugin reads the simple index of this address
VERSION = 1  # of the file that remembers what an index answers
# What asks the index, and may be done again after it failed.
_VERBS = frozenset(("add", "export", "install", "lock", "remove", "sync", "update"))
# An index that lacked an answer is asked again after a day, one that gave them all after an hour: a proxy may have changed
# its mind, and Poetry takes longer to load than the index to answer.
_SECONDS = {True: 3600, False: 24 * 3600}
_SAMPLES = ("pip", "poetry")  # whoever installed Poetry from an index has both there
_TIMEOUT = (10, 15)  # seconds to connect, seconds between two bytes; Poetry's own limit is 15
_MOST_NAMES = 20  # packages to look for after a failure: each costs a request
_SIMPLE = "application/vnd.pypi.simple.v1+json, */*;q=0.1"
_LINK = re.compile(r"""href=["']?[^"'>]*?([^"'>/#?]+\.(?:whl|tar\.gz|zip))["'#?>\s]""")
_WHEEL = re.compile(r"[^-]+-([^-]+)-.*\.whl")


def main(memory: Path, words: list[str]) -> int:
    """Run Poetry with these words and return its exit code; `memory` is the file that remembers what indexes answer."""
    sys.argv = ["poetry", *words]
    if os.environ.get(SIMPLE_URL) or _VERBS.isdisjoint(words) or _has_mirror(words):
        return _poetry()
    index = _built_in()
    if _is_complete(index, memory) is False:
        os.environ[SIMPLE_URL] = f"{index}/simple"
        return _poetry()
    refused = _watch(index)
    code = _poetry()
    names = sorted({address[len(index) :].split("/")[2] for address in refused})
    if code and any(_listed(index, name) for name in names[:_MOST_NAMES]):
        _remember(memory, index, complete=False)
        _say(f"{NOTE} Once more:")
        os.environ[SIMPLE_URL] = f"{index}/simple"
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-I", __file__, str(memory), *words])  # noqa: S606
    return code


def _poetry() -> int:
    from poetry.console.application import main as run

    try:
        return int(run() or 0)
    except SystemExit as ended:  # cleo's way to end
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)


def _has_mirror(words: Iterable[str]) -> bool:
    """Say whether Poetry's own settings name a mirror: the user's, or a poetry.toml's that may be the project's."""
    from poetry.config.config import Config

    if (Config.create().get("plugins") or {}).get("pypi_mirror"):
        return True
    projects = [Path.cwd(), *(Path(word).resolve() for word in words if Path(word).is_dir())]
    settings = (above / "poetry.toml" for each in projects for above in (each, *each.parents))
    return any("pypi_mirror" in _text(each) for each in settings)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _built_in() -> str:
    """Return the address of Poetry's built-in source, without /simple."""
    from poetry.repositories.pypi_repository import PyPiRepository

    return str(PyPiRepository().url).rstrip("/").rpartition("/simple")[0]


def _is_complete(index: str, memory: Path) -> bool | None:
    """Say whether the index gives every answer; None where that was never to be found out. Poetry loads meanwhile."""
    known = _read(memory).get(index, {})
    if 0 <= time.time() - known.get("asked", 0) < _SECONDS[known.get("complete", True)]:
        return bool(known["complete"])
    heard: list[bool | None] = []
    asking = threading.Thread(target=lambda: heard.append(_ask(index)), daemon=True)
    asking.start()
    import poetry.console.application  # noqa: F401

    asking.join()
    if heard[0] is None:
        return known.get("complete")
    _remember(memory, index, complete=heard[0])
    if not heard[0] and known.get("complete") is not False:
        _say(NOTE)
    return heard[0]


def _ask(index: str) -> bool | None:
    from concurrent.futures import ThreadPoolExecutor

    for name in _SAMPLES:
        answer = _get(f"{index}/simple/{name}/", accept=_SIMPLE)
        files = _files(answer)
        if not files:
            continue
        versions = [found[1] for found in map(_WHEEL.fullmatch, files) if found]
        if not _is_json(answer) or not versions:
            return False
        with ThreadPoolExecutor(2) as pool:
            addresses = (f"{index}/pypi/{name}/json", f"{index}/pypi/{name}/{versions[-1]}/json")
            return all(pool.map(lambda address: _is_json(_get(address), "info", "urls"), addresses))
    return None


def _listed(index: str, name: str) -> bool:
    return bool(_files(_get(f"{index}/simple/{name}/", accept=_SIMPLE)))


def _get(address: str, *, accept: str = "application/json") -> Any:
    import requests

    try:
        return requests.get(address, headers={"Accept": accept}, timeout=_TIMEOUT)
    except (requests.RequestException, OSError):
        return None


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
        return [str(each.get("filename")) for each in entries if isinstance(each, dict)]
    if answer is None or answer.status_code != 200:
        return []
    return _LINK.findall(answer.content.decode("utf-8", "replace"))


def _document(answer: Any) -> Any:
    if answer is None or answer.status_code != 200:
        return None
    try:
        return answer.json()
    except (ValueError, RecursionError):
        return None


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


def _read(memory: Path) -> dict[str, dict[str, Any]]:
    try:
        document = json.loads(memory.read_text(encoding="utf-8"))
        entries = document["indexes"].items() if document["version"] == VERSION else ()
        return {index: entry for index, entry in entries if _is_entry(entry)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}  # damaged, of another version, or not there: nothing is known


def _is_entry(entry: dict[str, Any]) -> bool:
    return isinstance(entry["complete"], bool) and isinstance(entry["asked"], (int, float))


def _remember(memory: Path, index: str, *, complete: bool) -> None:
    known = {**_read(memory), index: {"complete": complete, "asked": int(time.time())}}
    beside = memory.with_name(f".{memory.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps({"version": VERSION, "indexes": known}, indent=1), encoding="utf-8")
        beside.replace(memory)
    except OSError:
        with contextlib.suppress(OSError):  # it will be asked again
            beside.unlink()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
