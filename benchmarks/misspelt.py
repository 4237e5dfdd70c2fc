"""Misspell keywords of the main path, one at a time, and ask mypy: `python benchmarks/misspelt.py`.

In a copy of the package, each keyword of a call, and each name of a parameter or field that such a keyword names, gets a
letter too many; mypy has to fail. `--sample N` draws N of them (default 100), with the seed `--seed`. Prints how many
were found, and every one that was not. Calls to functions that take any keyword by design are named as such.
"""

from __future__ import annotations

import argparse
import ast
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAIN_PATH = (
    "setting_up.py steps.py request.py environment.py interpreter_sources.py kernel.py step.py snapshots.py planning.py"
    " diagnose.py choice.py venv.py interpreters/*.py formats/*.py locks/*.py"
)


def keywords(path: Path) -> list[tuple[int, int, str]]:
    """Return line, column and name of every keyword that a call in a file gives."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    return [(each.lineno, each.col_offset, each.arg) for call in calls for each in call.keywords if each.arg]


def misspelt(text: str, line: int, column: int, name: str) -> str:
    lines = text.splitlines(keepends=True)
    encoded = lines[line - 1].encode()
    lines[line - 1] = (encoded[: column + len(name)] + b"x" + encoded[column + len(name) :]).decode()
    return "".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=100, metavar="N", help="0 for all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        shutil.copytree(ROOT / "colab_env", copy / "colab_env", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        files = [path for pattern in MAIN_PATH.split() for path in sorted((copy / "colab_env").glob(pattern))]
        places = [(path, *each) for path in files for each in keywords(path)]
        if arguments.sample:
            places = random.Random(arguments.seed).sample(places, min(arguments.sample, len(places)))
        daemon = [sys.executable, "-m", "mypy.dmypy", "--status-file", str(Path(scratch) / "dmypy.json")]

        def passes() -> bool:
            return not subprocess.run(
                [*daemon, "run", "--", "colab_env"], cwd=copy, capture_output=True, check=False
            ).returncode

        if not passes():
            sys.exit("mypy fails before anything is misspelt")
        missed = []
        for path, line, column, name in places:
            text = path.read_text(encoding="utf-8")
            path.write_text(misspelt(text, line, column, name), encoding="utf-8")
            if passes():
                missed.append(f"{path.relative_to(copy)}:{line} {name}")
            path.write_text(text, encoding="utf-8")
        subprocess.run([*daemon, "stop"], cwd=copy, capture_output=True, check=False)
    print(f"{len(places) - len(missed)} of {len(places)} misspelt keywords fail mypy", *missed, sep="\n")


if __name__ == "__main__":
    main()
