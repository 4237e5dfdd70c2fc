"""Count what one `setup()` asks twice, and how far its data travels: `python benchmarks/trace_setup.py`.

A project with a lock file is set up once; then a second, fresh process calls `setup()`, which finds everything there,
and is traced: how often the machine is detected, a lock file looked for and pyproject.toml opened; how many functions
in how many files of the package are entered, and how deep their calls nest. `--first` traces the first set-up instead.
Needs a package index. Prints a table; `--json FILE` writes the figures, `--calls` names what was entered.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "colab_env"
PROJECT = "[tool.traced]\n"  # no dependencies in it, so that the lock file below counts
LOCK = "six==1.17.0\n"
ASKED = {"machine detected": {("machine.py", "detect")}, "lock looked for": {("request.py", "find_lock")}}
"""The functions whose calls are counted, as (file, name)."""


class Trace:
    """What a profile hook has seen of this package, in all threads."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self.opened: Counter[Path] = Counter()
        self.depth = 0
        self._depths: dict[int, int] = {}

    def start(self) -> None:
        sys.addaudithook(self._audit)
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def stop(self) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        # Comprehensions, modules and class bodies are no functions that a reader would enter.
        is_function = code.co_flags & inspect.CO_OPTIMIZED and not code.co_name.startswith("<")
        if not is_function or not code.co_filename.startswith(str(PACKAGE)):
            return
        thread = threading.get_ident()
        if event == "call":
            self._depths[thread] = self._depths.get(thread, 0) + 1
            self.depth = max(self.depth, self._depths[thread])
            self.calls[str(Path(code.co_filename).relative_to(PACKAGE)), code.co_name] += 1
        elif event == "return":
            self._depths[thread] = self._depths.get(thread, 0) - 1

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | os.PathLike):
            self.opened[Path(arguments[0])] += 1

    def figures(self, project: Path) -> dict[str, Any]:
        named = {
            what: sum(count for (file, name), count in self.calls.items() if (Path(file).name, name) in functions)
            for what, functions in ASKED.items()
        }
        if missing := [what for what, count in named.items() if not count]:
            sys.exit(f"{missing[0]}: none of {ASKED[missing[0]]} was called; were they renamed?")
        return {
            **named,
            "pyproject.toml opened": self.opened[project / "pyproject.toml"],
            "lock file opened": self.opened[project / "requirements.txt"],
            "functions entered": len(self.calls),
            "files entered": len({file for file, _ in self.calls}),
            "depth": self.depth,
            "entered": {f"{file}:{name}": count for (file, name), count in sorted(self.calls.items())},
        }


def traced(project: str) -> None:
    """Trace one `setup()` in this process; print the figures as JSON on the last line."""
    sys.path.insert(0, str(ROOT))
    import colab_env

    call = colab_env.setup  # resolves the lazy name: what is counted begins with the call itself
    trace = Trace()
    trace.start()
    call(project=project, interpreter="system")
    trace.stop()
    print(json.dumps(trace.figures(Path(project))))


def measure(scratch: Path, *, first: bool) -> dict[str, Any]:
    project = scratch / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "requirements.txt").write_text(LOCK)
    environ = {**os.environ, "COLAB_ENV_HOME": str(scratch / "data"), "JUPYTER_DATA_DIR": str(scratch / "jupyter")}
    call = f"import colab_env; colab_env.setup(project={str(project)!r}, interpreter='system')"
    if not first:
        subprocess.run([sys.executable, "-c", call], cwd=ROOT, env=environ, check=True, capture_output=True)
    argv = [sys.executable, __file__, "--traced", str(project)]
    done = subprocess.run(argv, env=environ, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", action="store_true", help="trace the set-up that makes everything")
    parser.add_argument("--calls", action="store_true", help="name the functions that were entered")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--traced", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.traced:
        return traced(arguments.traced)
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(Path(scratch), first=arguments.first)
    entered = figures.pop("entered")
    print("| one `setup()` | |\n|---|---|")
    for what, figure in figures.items():
        print(f"| {what} | {figure} |")
    if arguments.calls:
        print(*(f"{count:5} {name}" for name, count in entered.items()), sep="\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
