"""Time set-ups from lock files against what people do by hand, in one run: `python benchmarks/locks.py`.

Three projects (`benchmarks/locks/`: small, science, large), each with cold and with warm download caches:

- recipe: Poetry by pip, `poetry install`, ipykernel by pip, `ipykernel install`
- bare uv: `uv venv`, `uv pip sync` of the same lock as requirements, `uv pip install ipykernel`, `ipykernel install`
- colab-env from poetry.lock, and from the same lock as requirements.txt; again; restored from a snapshot
- tar: `tar --zstd -x` of that very snapshot

Every round starts with an empty home at the same path; the sides take turns. Needs uv, tar, zstd and Python 3.12.
Prints tables; `--json FILE` writes the figures, `--lock NAME` (may be repeated) and `--rounds N` choose.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "benchmarks" / "locks"
PYTHON = "3.12"
TOOL = [sys.executable, "-m", "colab_env"]
SETUP = [*TOOL, "setup", "--interpreter", "system", "--python", PYTHON, "--quiet"]
sys.path.insert(0, str(ROOT))


@dataclass(kw_only=True)
class Place:
    """One lock's home, caches and requirements; `peak` is the most memory (MB) that colab-env itself used."""

    home: Path
    caches: Path
    archives: Path
    lock: str
    interpreter: str
    mirror: dict[str, str]
    peak: float = 0.0
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def make(cls, base: Path, lock: str) -> Self:
        """Make one below `base`, its requirements written."""
        (base / "archives").mkdir()
        places = {name: base / name for name in ("home", "caches", "archives")}
        place = cls(**places, lock=lock, interpreter=interpreter(), mirror=mirror())
        export(place)
        return place

    @property
    def project(self) -> Path:
        return self.home / "work"

    @property
    def requirements(self) -> Path:
        return self.archives / "requirements.txt"

    def fresh(self, *, cold: bool, poetry: bool = True) -> None:
        while self.home.exists():  # a set-up may still be compiling there
            shutil.rmtree(self.home, ignore_errors=True)
        if cold:
            shutil.rmtree(self.caches, ignore_errors=True)
        self.project.mkdir(parents=True)
        if poetry:
            shutil.copytree(LOCKS / self.lock, self.project, dirs_exist_ok=True)
        else:
            shutil.copy(self.requirements, self.project)
        os.sync()  # nobody pays for what the side before has left to be written

    def run(self, *argv: object, **more: str) -> str:
        names = {"UV_CACHE_DIR": "uv", "PIP_CACHE_DIR": "pip", "POETRY_CACHE_DIR": "poetry"}
        caches = {name: str(self.caches / place) for name, place in names.items()}
        dropped = ("PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "XDG_DATA_HOME", "XDG_CACHE_HOME", "CI")
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        pyenv = kept.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
        key = "0" * 63 + "1"  # every home is a new machine of the same person
        caches["COLAB_ENV_SNAPSHOT_KEY"] = key
        environ = {**kept, **caches, "HOME": str(self.home), "PYTHONPATH": str(ROOT), "PYENV_ROOT": pyenv, **more}
        if argv[0] != sys.executable:
            del environ["PYTHONPATH"]
        words = [str(word) for word in argv]
        child = subprocess.Popen(
            words, cwd=self.project, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        with watched(child.pid) as memory:
            output = child.communicate()[0]
        if child.returncode:
            sys.exit(f"{words} failed:\n{output}")
        if argv[0] == sys.executable:
            self.peak = max(self.peak, *memory)
        return output

    def timed(self, name: str, work: Callable[[], None]) -> None:
        began = time.perf_counter()
        work()
        self.seconds.setdefault(name, []).append(time.perf_counter() - began)
        print(f"{self.lock}: {name}: {self.seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)


class watched:  # noqa: N801  (a context manager named for what holds inside it)
    """Collect the peak memory (MB) of one process, its children left out, while the block runs."""

    def __init__(self, pid: int) -> None:
        self.pid, self.ended, self.found = pid, threading.Event(), [0.0]

    def __enter__(self) -> list[float]:
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self.found

    def __exit__(self, *exception: object) -> None:
        self.ended.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.ended.wait(0.05):
            try:
                status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
            except OSError:
                return
            self.found.extend(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lock", action="append", choices=["small", "science", "large"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = {"date": str(dt.datetime.now(tz=dt.timezone.utc).date()), "machine": platform.platform()}
    figures: dict[str, object] = {**found, "cores": os.cpu_count(), "python": PYTHON, "rounds": arguments.rounds}
    figures["locks"] = {
        name: measure(name, arguments.rounds) for name in arguments.lock or ["small", "science", "large"]
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    show(figures)


def measure(lock: str, rounds: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="locks-") as scratch:
        place = Place.make(Path(scratch), lock)
        for _ in range(rounds):
            for cold in (True, False):
                first_set_ups(place, "cold" if cold else "warm", cold=cold)
            restores(place)
        size, files = tree(place.project / ".venv")
        packages = len(list((place.project / ".venv").glob("lib/python3*/site-packages/*.dist-info")))
        archive = sum(path.stat().st_size for path in (place.archives / "cache").iterdir())
        return {
            "packages": packages,
            "tree_mb": round(size / 1e6),
            "files": files,
            "archive_mb": round(archive / 1e6),
            "peak_mb": round(place.peak),
            "seconds": place.seconds,
        }


def first_set_ups(place: Place, caches: str, *, cold: bool) -> None:
    def recipe() -> None:
        tool = place.home / "tool/bin"
        place.run(place.interpreter, "-m", "venv", tool.parent)
        place.run(tool / "pip", "install", "-q", "poetry", *(["poetry-plugin-pypi-mirror"] if place.mirror else []))
        place.run(tool / "poetry", "install", "-n", POETRY_VIRTUALENVS_IN_PROJECT="true", **place.mirror)
        place.run(place.project / ".venv/bin/python", "-m", "pip", "install", "-q", "ipykernel")
        place.run(place.project / ".venv/bin/python", "-m", "ipykernel", "install", "--user", "--name", "work")

    for name, work, poetry in (
        ("recipe", recipe, True),
        ("bare uv", lambda: by_hand(place), False),
        ("colab-env", lambda: place.run(*SETUP), True),
        ("colab-env, requirements.txt", lambda: place.run(*SETUP), False),
    ):
        place.fresh(cold=cold, poetry=poetry)
        place.timed(f"{name}, {caches}", work)


def by_hand(place: Place) -> None:
    """Do with bare uv what a set-up does."""
    python = place.project / ".venv/bin/python"
    place.run("uv", "venv", "-q", "--python", place.interpreter)
    place.run("uv", "pip", "sync", "-q", "--python", python, "requirements.txt")
    place.run("uv", "pip", "install", "-q", "--python", python, "ipykernel")
    place.run(python, "-m", "ipykernel", "install", "--user", "--name", "work")


def restores(place: Place) -> None:
    cache = place.archives / "cache"
    place.fresh(cold=False)
    place.run(*SETUP)
    place.timed("again", lambda: place.run(*SETUP))
    if not cache.exists():
        cache.mkdir()
        place.timed("save", lambda: place.run(*TOOL, "save", cache))
    place.fresh(cold=True)
    place.timed("restore", lambda: place.run(*SETUP, "--cache", cache))
    (archive,) = cache.glob("*.tar.zst")
    target = place.home / "tar"
    target.mkdir()
    os.sync()
    place.timed("tar", lambda: place.run("tar", "--zstd", "-xf", archive, "-C", target))
    shutil.rmtree(target)


def export(place: Place) -> None:
    """Write the lock as requirements, once and outside of all times."""
    from colab_env import system
    from colab_env.interpreter import parse_specifier
    from colab_env.locks import registry
    from colab_env.locks.installing import Selection
    from colab_env.machine import Machine

    place.fresh(cold=False)
    place.run(*TOOL, "install-poetry", "--quiet")
    runtime = Machine.detect({**os.environ, "HOME": str(place.home)})
    python = system.find(parse_specifier(PYTHON), machine=runtime)
    found = registry.find(place.project)
    assert found is not None
    place.requirements.write_text(
        found.format.export(found, Selection(), python=python.path, machine=runtime), encoding="utf-8"
    )


def interpreter() -> str:
    from colab_env import system
    from colab_env.interpreter import parse_specifier
    from colab_env.machine import Machine

    return str(system.find(parse_specifier(PYTHON), machine=Machine.detect()).path)


def mirror() -> dict[str, str]:
    """Return what Poetry needs where the index lacks an answer that Poetry wants, for the recipe's side too."""
    import requests
    from pip._internal.models.index import PyPI

    index = PyPI.simple_url.rstrip("/").removesuffix("/simple")
    page = requests.get(f"{index}/simple/pip/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}, timeout=60)
    if page.headers.get("Content-Type", "").endswith("json"):
        version = page.json()["files"][-1]["filename"].removesuffix(".tar.gz").split("-")[1]
        if requests.get(f"{index}/pypi/pip/{version}/json", timeout=60).ok:
            return {}
    return {"POETRY_PYPI_MIRROR_URL": f"{index}/simple"}


def tree(directory: Path) -> tuple[int, int]:
    sizes = [path.lstat().st_size for path in directory.rglob("*") if not path.is_dir()]
    return sum(sizes), len(sizes)


def show(figures: dict[str, object]) -> None:
    print(f"Python {figures['python']}, {figures['cores']} cores, {figures['machine']}, {figures['date']}\n")
    locks: dict[str, dict[str, object]] = figures["locks"]  # type: ignore[assignment]
    titles = [f"{name} ({row['packages']} packages, {row['tree_mb']} MB)" for name, row in locks.items()]
    print(f"| median seconds | {' | '.join(titles)} |\n|---|{'---|' * len(locks)}")
    for name in dict.fromkeys(name for row in locks.values() for name in row["seconds"]):
        cells = (f"{statistics.median(row['seconds'][name]):.2f}" for row in locks.values())
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"| peak memory of colab-env (MB) | {' | '.join(str(row['peak_mb']) for row in locks.values())} |\n")
    print(f"| ratio | {' | '.join(locks)} |\n|---|{'---|' * len(locks)}")
    for title, upper, lower in RATIOS:
        print(f"| {title} | {' | '.join(ratio(row['seconds'], upper, lower) for row in locks.values())} |")


RATIOS = (
    ("first set-up from requirements.txt / bare uv, cold", "colab-env, requirements.txt, cold", "bare uv, cold"),
    ("first set-up from poetry.lock / bare uv, cold", "colab-env, cold", "bare uv, cold"),
    ("recipe / first set-up from poetry.lock, cold", "recipe, cold", "colab-env, cold"),
    ("recipe / first set-up from poetry.lock, warm", "recipe, warm", "colab-env, warm"),
    ("restore / tar", "restore", "tar"),
    ("warm bare uv / restore", "bare uv, warm", "restore"),
)


def ratio(seconds: dict[str, list[float]], upper: str, lower: str) -> str:
    found = sorted(above / below for above, below in zip(seconds[upper], seconds[lower], strict=True))
    spread = f" ({found[0]:.2f} to {found[-1]:.2f})" if len(found) > 1 else ""
    return f"{statistics.median(found):.2f}{spread}"


if __name__ == "__main__":
    main()
