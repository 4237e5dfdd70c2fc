"""Time a set-up with warm download caches against bare uv, from four formats of one lock: `python benchmarks/warm.py`.

For each project of `benchmarks/locks/` and each format: bare uv (`uv venv` and `uv pip sync`, or `uv sync --frozen`, then
ipykernel and its registration), the set-up of an empty home, and that of the next project in the same home, where the
kernel's packages are already. From poetry.lock, bare uv installs the same as requirements. The sides take turns. Prints a
table; `--lock NAME` and `--format NAME` (may be repeated) and `--rounds N` choose. Needs uv and Python 3.12.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import locks

NAMES = sorted(path.name for path in locks.LOCKS.iterdir())
FORMATS = ("uv.lock", "pylock.toml", "requirements.txt", "poetry.lock")
PROJECT = '[project]\nname = "work"\nversion = "1"\nrequires-python = "==3.12.*"\ndependencies = [\n{lines}]\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lock", action="append", choices=NAMES)
    parser.add_argument("--format", action="append", choices=FORMATS)
    arguments = parser.parse_args()
    formats = arguments.format or FORMATS
    print(f"| set-up ÷ bare uv, warm | {' | '.join(formats)} |\n|---|{'---|' * len(formats)}")
    for lock in arguments.lock or NAMES:
        with tempfile.TemporaryDirectory(prefix="warm-") as scratch:
            place = locks.Place.make(Path(scratch), lock)
            cells = [measure(place, name, arguments.rounds) for name in formats]
        print(f"| {lock}, an empty home | {' | '.join(cell[0] for cell in cells)} |")
        print(f"| {lock}, the next project | {' | '.join(cell[1] for cell in cells)} |", flush=True)


def measure(place: locks.Place, name: str, rounds: int) -> tuple[str, str]:
    files = written(place, name)
    prepare(place, files)
    place.run(*locks.SETUP)  # fills the download cache
    for _ in range(rounds):
        prepare(place, files)
        place.timed(f"bare uv, {name}", lambda: bare(place, name))
        prepare(place, files)
        place.timed(f"setup, {name}", lambda: place.run(*locks.SETUP))
        other = place.home / "next"
        shutil.copytree(files, other)
        place.timed(f"next, {name}", lambda: place.run(*locks.SETUP, "--project", place.home / "next"))
    sides = (f"setup, {name}", f"next, {name}")
    first, second = (locks.ratio(place.seconds, side, f"bare uv, {name}") for side in sides)
    return first, second


def prepare(place: locks.Place, files: Path) -> None:
    place.fresh(cold=False, poetry=False)
    place.project.joinpath("requirements.txt").unlink()
    shutil.copytree(files, place.project, dirs_exist_ok=True)


def written(place: locks.Place, name: str) -> Path:
    """Return a directory with a project of this format."""
    target = place.archives / name.partition(".")[0]
    if name == "poetry.lock":
        return Path(shutil.copytree(locks.LOCKS / place.lock, target))
    target.mkdir()
    place.fresh(cold=False, poetry=False)
    if name == "uv.lock":
        words = place.requirements.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        pins = [line.partition(" --hash")[0].strip().replace('"', "'") for line in words if "==" in line]
        lines = "".join(f'  "{pin}",\n' for pin in pins)
        (place.project / "pyproject.toml").write_text(PROJECT.format(lines=lines), encoding="utf-8")
        place.run("uv", "lock", "-q", "--python", place.interpreter)
        shutil.copy(place.project / "pyproject.toml", target)
    elif name == "pylock.toml":
        options = ("--format", name, "--output-file", name, "--python", place.interpreter, "--no-deps")
        place.run("uv", "pip", "compile", "-q", "requirements.txt", *options)
    shutil.copy(place.project / name, target)
    return target


def bare(place: locks.Place, name: str) -> None:
    python = place.project / ".venv/bin/python"
    if name == "uv.lock":
        place.run("uv", "sync", "-q", "--frozen", "--python", place.interpreter)
    else:
        source = place.requirements if name == "poetry.lock" else name
        place.run("uv", "venv", "-q", "--no-project", "--python", place.interpreter)
        place.run("uv", "pip", "sync", "-q", "--python", python, source)
        if name == "poetry.lock" and "build-system" in (place.project / "pyproject.toml").read_text(encoding="utf-8"):
            place.run("uv", "pip", "install", "-q", "--no-deps", "--python", python, "-e", ".")
    place.run("uv", "pip", "install", "-q", "--python", python, "ipykernel")
    place.run(python, "-m", "ipykernel", "install", "--user", "--name", "work")


if __name__ == "__main__":
    if shutil.which("uv") is None:
        sys.exit("uv is not on PATH")
    main()
