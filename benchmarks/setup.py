"""Time the first set-up against the same work done by hand, in one run: `python benchmarks/setup.py`.

By hand means uv's and Poetry's own commands, one after the other: `uv tool install poetry`, `uv venv`, `poetry install`,
`uv pip install ipykernel`, `ipykernel install`. Both sides start with an empty home and the same warm download cache, and
take turns. Needs uv and a Python of the version asked for. Prints a table; `--json FILE` writes the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = """\
[project]
name = "lesson"
version = "0.1.0"
requires-python = ">={short}"
dependencies = []

[tool.poetry]
package-mode = false
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", default="{}.{}".format(*sys.version_info[:2]))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = measure(arguments.python, arguments.rounds)
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measure(python: str, rounds: int) -> dict[str, object]:
    seconds: dict[str, list[float]] = {"ours": [], "again": [], "by hand": [], "import": [], "version": []}
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        for number in range(rounds + 1):
            home = Path(scratch) / f"home-{number}"
            measured = one_round(home, cache, python)
            if number:  # the first round fills the caches
                for name, value in measured.items():
                    seconds[name].append(value)
            shutil.rmtree(home)
    ratios = [ours / bare for ours, bare in zip(seconds["ours"], seconds["by hand"], strict=True)]
    machine = {"python": python, "machine": platform.platform(), "cores": os.cpu_count()}
    return {**machine, "seconds": seconds, "ratios": ratios}


def one_round(home: Path, cache: Path, python: str) -> dict[str, float]:
    ours, by_hand = home / "ours", home / "by-hand"
    tool = [sys.executable, "-m", "colab_env"]
    setup = [*tool, "setup", "--interpreter", "system", "--python", python, "--quiet"]
    interpreter = _interpreter(python)
    return {
        "by hand": timed(lambda: do_by_hand(by_hand, cache, interpreter, python)),
        "ours": timed(lambda: run(setup, _project(ours, python), ours, cache)),
        "again": timed(lambda: run(setup, ours / "lesson", ours, cache)),
        "import": timed(lambda: run([sys.executable, "-c", "import colab_env"], ROOT, ours, cache)),
        "version": timed(lambda: run([*tool, "--help"], ROOT, ours, cache)),
    }


def do_by_hand(home: Path, cache: Path, interpreter: str, python: str) -> None:
    project = _project(home, python)
    venv = project / ".venv/bin/python"
    for argv in (
        ["uv", "tool", "install", "poetry"],
        ["uv", "venv", "--seed", "--system-site-packages", "--python", interpreter],
        [home / ".local/bin/poetry", "install", "--no-interaction"],
        ["uv", "pip", "install", "ipykernel"],
        [venv, "-m", "ipykernel", "install", "--user", "--name", "lesson"],
    ):
        run(argv, project, home, cache)


def timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def run(argv: list[object], cwd: Path, home: Path, cache: Path) -> None:
    dropped = ("PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "XDG_DATA_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    paths = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    pyenv = kept.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
    environ = {**kept, "HOME": str(home), "UV_CACHE_DIR": str(cache), "PYTHONPATH": paths, "PYENV_ROOT": pyenv}
    done = subprocess.run(
        [str(word) for word in argv], cwd=cwd, env=environ, text=True, capture_output=True, check=False
    )
    if done.returncode:
        sys.exit(f"{argv} failed:\n{done.stdout}{done.stderr}")


def show(figures: dict[str, object]) -> None:
    seconds, ratios = figures["seconds"], figures["ratios"]
    print(f"Python {figures['python']}, {figures['cores']} cores, {figures['machine']}\n")
    print("| | median (s) | lowest | highest |\n|---|---|---|---|")
    titles = {
        "by hand": "by hand, five commands",
        "ours": "`colab-env setup`, kernel tried",
        "again": "`colab-env setup` again",
        "import": "`import colab_env`, with Python's own start",
        "version": "`colab-env --help`",
    }
    for name, title in titles.items():
        values = seconds[name]
        print(f"| {title} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} |")
    middle = statistics.median(ratios)
    print(f"\nours / by hand, round by round: median {middle:.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


def _project(home: Path, python: str) -> Path:
    project = home / "lesson"
    project.mkdir(parents=True)
    (project / "pyproject.toml").write_text(PROJECT.format(short=python), encoding="utf-8")
    return project


def _interpreter(python: str) -> str:
    sys.path.insert(0, str(ROOT))
    from colab_env import system
    from colab_env.interpreter import parse_specifier
    from colab_env.machine import Machine

    return str(system.find(parse_specifier(python), machine=Machine.detect()).path)


if __name__ == "__main__":
    main()
