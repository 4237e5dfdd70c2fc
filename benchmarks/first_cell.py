"""Time what a person waits for, from the call to the end of a notebook's first imports: `python benchmarks/first_cell.py`.

The first cell of the new kernel imports numpy, matplotlib, scikit-learn and scipy from the lock `science` (see
`benchmarks/locks.py`, which it builds on). The sides take turns, each in an empty home, with warm download caches:

- bare uv: what `benchmarks/locks.py` does with it, and the same with `--compile-bytecode`
- recipe: Poetry and ipykernel by pip
- colab-env, from requirements.txt, and restored from a snapshot
- tar: `tar --zstd -x` of that snapshot, and the imports in a plain Python

Needs uv, tar, zstd and Python 3.12. Prints a table; `--json FILE` writes the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import locks

CELL = "import numpy, matplotlib.pyplot, sklearn.ensemble, scipy.stats, scipy.signal"
# Starts a kernel as a notebook server does, and runs the cell in it.
KERNEL = """\
import sys, time
from jupyter_client.manager import start_new_kernel

began = time.perf_counter()
manager, client = start_new_kernel(kernel_name=sys.argv[1], startup_timeout=120)
started = time.perf_counter()
reply = client.execute_interactive(sys.argv[2], timeout=600, store_history=False)
print(f"{started - began:.2f} {time.perf_counter() - started:.2f}")
client.stop_channels()
manager.shutdown_kernel(now=True)
sys.exit(reply["content"]["status"] != "ok")
"""
SIDES = ("bare uv", "bare uv, compiled", "recipe", "colab-env", "colab-env, restored", "tar")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", action="append", choices=SIDES)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = measure(arguments.rounds, arguments.side or SIDES)
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measure(rounds: int, sides: list[str] | tuple[str, ...]) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="first-cell-") as scratch:
        place = locks.Place.make(Path(scratch), "science")
        cache = place.archives / "cache"
        place.fresh(cold=False, poetry=False)
        place.run(*locks.SETUP, "--kernel", "work", "--cache", cache)  # fills the download caches, and makes a snapshot
        for _ in range(rounds):
            for side in sides:
                place.fresh(cold=side == "colab-env, restored", poetry=side == "recipe")
                place.timed(side, lambda side=side: SETUPS[side](place, cache))  # type: ignore[misc]
        return {"cores": os.cpu_count(), "machine": platform.platform(), "rounds": rounds, "seconds": place.seconds}


def imports(place: locks.Place) -> None:
    said = place.run(sys.executable, "-c", KERNEL, "work", CELL).split()
    print(f"    start of the kernel {said[-2]} s, imports {said[-1]} s", file=sys.stderr)


def bare_uv(place: locks.Place, _: Path, **more: str) -> None:
    python = place.project / ".venv/bin/python"
    place.run("uv", "venv", "-q", "--python", place.interpreter)
    place.run("uv", "pip", "sync", "-q", "--python", python, "requirements.txt", **more)
    place.run("uv", "pip", "install", "-q", "--python", python, "ipykernel", **more)
    place.run(python, "-m", "ipykernel", "install", "--user", "--name", "work")
    imports(place)


def recipe(place: locks.Place, _: Path) -> None:
    tool, python = place.home / "tool/bin", place.project / ".venv/bin/python"
    place.run(place.interpreter, "-m", "venv", tool.parent)
    place.run(tool / "pip", "install", "-q", "poetry", *(["poetry-plugin-pypi-mirror"] if place.mirror else []))
    place.run(tool / "poetry", "install", "-n", POETRY_VIRTUALENVS_IN_PROJECT="true", **place.mirror)
    place.run(python, "-m", "pip", "install", "-q", "ipykernel")
    place.run(python, "-m", "ipykernel", "install", "--user", "--name", "work")
    imports(place)


def colab_env(place: locks.Place, _: Path, *options: object) -> None:
    place.run(*locks.SETUP, "--kernel", "work", *options)
    imports(place)


def tar(place: locks.Place, cache: Path) -> None:
    (archive,) = cache.glob("*.tar.zst")
    place.run("tar", "--zstd", "-xf", archive, "-C", place.home)
    (place.home / "venv").rename(place.project / ".venv")
    place.run(place.project / ".venv/bin/python", "-c", CELL)


SETUPS: dict[str, Callable[[locks.Place, Path], None]] = {
    "bare uv": bare_uv,
    "bare uv, compiled": lambda place, cache: bare_uv(place, cache, UV_COMPILE_BYTECODE="1"),
    "recipe": recipe,
    "colab-env": colab_env,
    "colab-env, restored": lambda place, cache: colab_env(place, cache, "--cache", cache),
    "tar": tar,
}


def show(figures: dict[str, object]) -> None:
    print(f"{figures['cores']} cores, {figures['machine']}, {figures['rounds']} rounds\n")
    seconds: dict[str, list[float]] = figures["seconds"]  # type: ignore[assignment]
    print(
        "| from the call to the end of the imports | seconds (median) | ÷ bare uv | ÷ bare uv, compiled |\n|---|---|---|---|"
    )
    for side, found in seconds.items():
        ratios = (locks.ratio(seconds, side, other) if other in seconds else "" for other in SIDES[:2])
        print(f"| {side} | {statistics.median(found):.2f} | {' | '.join(ratios)} |")


if __name__ == "__main__":
    if shutil.which("uv") is None:
        sys.exit("uv is not on PATH")
    main()
