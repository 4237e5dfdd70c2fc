"""Set up public projects, and compare each with what its own tool makes of a fresh clone: `python benchmarks/corpus.py`.

In a cell of its kernel, what the project's own files import is imported, and the same in the environment of its own tool.

`benchmarks/corpus.tsv` names them: owner/name, commit, format, and the directory where it is not the root. They were drawn with
a fixed seed (`--draw FILE`: a list of owner/name and format, one a line, and how many of each), and none is dropped
afterwards. A project is cloned from its public address, or from a directory of bare repositories, OWNER+NAME (`--mirrors DIR`).
Its code runs when it is built: use a machine that may be thrown away. Needs git, uv and a few Pythons. Prints one row of a
table for each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".tsv")
TOOL = [sys.executable, "-m", "colab_env"]
SEED = 10
LIMIT = 600  # seconds for one program
# What each format's own tool does, in a clone whose environment is .venv and whose interpreter {python} is.
OWN = {
    "uv.lock": "uv sync{of_python}",
    "poetry.lock": "uv venv -q --seed --no-project --python {python} .venv; {poetry} sync --no-interaction",
    "pdm.lock": "uv venv -q --no-project --python {python} .venv; {pdm} use -f .venv; {pdm} sync",
    "Pipfile.lock": "uv venv -q --no-project --python {python} .venv; {pipenv} sync",
    "pylock.toml": "uv venv -q --no-project --python {python} .venv; uv pip sync pylock.toml",
    "requirements.txt": "uv venv -q --no-project --python {python} .venv; uv pip install -r requirements.txt",
    "pyproject.toml": "uv sync{of_python}",
    "setup.py": "uv venv -q --no-project --python {python} .venv; uv pip install -e .",
}
PDM = "uvx --from pdm[locked] pdm"  # newer releases of its HTTP libraries lack what PDM asks them for
# The pip inside a Pipenv does not install into older Pythons; the last one that does runs under that very Python.
PIPENV = {6: "2021.11.23", 7: "2023.7.23", 8: "2023.12.1", 9: "2023.12.1"}
HEAD = (
    "| project | of | locked by | its own tool | colab-env | kernel | imports in a cell | again | git status, undo | s |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)
# What tracked files import at any level, as far as it is installed, the project's own packages too: a module's name and what
# its import ends in.
CELL = """\
import ast, importlib, importlib.util, os, pathlib, subprocess, sys, warnings
warnings.simplefilter("ignore")
names = set()
for path in subprocess.run(["git", "ls-files", "*.py"], capture_output=True, text=True).stdout.splitlines()[:400]:
    try:
        nodes = list(ast.walk(ast.parse(pathlib.Path(path).read_text(encoding="utf-8"))))
    except (SyntaxError, ValueError, OSError):
        continue
    names |= {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
root = subprocess.run(["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True).stdout.strip()
sys.path[:] = [path for path in sys.path if path not in ("", os.getcwd())]  # what merely lies here is not installed
os.chdir("/")
for name in sorted(names - set(sys.builtin_module_names)):
    spec = importlib.util.find_spec(name)
    if spec is None or "site-packages" not in str(spec.origin) and not str(spec.origin).startswith(f"{root}/"):
        continue
    try:
        importlib.import_module(name)
        print("imported", name, "ok")
    except BaseException as error:
        print("imported", name, type(error).__name__)
"""
# Starts a kernel as a notebook server does, runs the cell in it, and shows what it printed.
KERNEL = """\
import sys
from jupyter_client.manager import start_new_kernel

manager, client = start_new_kernel(kernel_name=sys.argv[1], startup_timeout=120)
client.execute_interactive(sys.argv[2], timeout=300, store_history=False)
client.stop_channels()
manager.shutdown_kernel(now=True)
"""


@dataclass(frozen=True, kw_only=True)
class Project:
    name: str
    commit: str
    format: str
    directory: str = "."  # where somebody works: below the clone's root in a monorepo, or a directory of notebooks

    def __str__(self) -> str:
        return self.name if self.directory == "." else f"{self.name}, {self.directory}"

    def is_meant_by(self, word: str) -> bool:
        return word in (self.name, str(self)) or (f"{self.name}@{self.commit}".startswith(word) and "@" in word)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirrors", type=Path, metavar="DIR", help="bare repositories, OWNER+NAME")
    parser.add_argument(
        "--only",
        action="append",
        metavar="OWNER/NAME",
        help="or as OWNER/NAME, DIRECTORY, or as OWNER/NAME@COMMIT, abbreviated; may be repeated",
    )
    parser.add_argument("--draw", type=Path, metavar="FILE", help="draw from a list of owner/name and format, and end")
    parser.add_argument("--number", type=int, default=4, help="how many of each format to draw")
    parser.add_argument("--seed", type=int, default=SEED, help="of the draw")
    arguments = parser.parse_args()
    if arguments.draw:
        print("\n".join(drawn(arguments.draw.read_text(encoding="utf-8"), arguments.number, arguments.seed)))
        return
    names = ("name", "commit", "format", "directory")
    rows = [Project(**dict(zip(names, line.split("\t"), strict=False))) for line in listed()]
    print(HEAD)
    for each in rows:
        if not arguments.only or any(each.is_meant_by(word) for word in arguments.only):
            with tempfile.TemporaryDirectory(prefix="corpus-") as scratch:
                print(row(each, Path(scratch), arguments.mirrors), flush=True)


def listed() -> list[str]:
    return [line for line in LIST.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def drawn(candidates: str, number: int, seed: int = SEED) -> list[str]:
    """Return as many candidates of each format, the same for the same list."""
    by_format: dict[str, list[str]] = defaultdict(list)
    for line in candidates.splitlines():
        name, kind = line.split("\t")
        by_format[kind].append(name)
    chance = random.Random(seed)
    return [
        f"{name}\t{kind}"
        for kind, names in sorted(by_format.items())
        for name in sorted(chance.sample(sorted(names), min(number, len(names))))
    ]


def row(project: Project, scratch: Path, mirrors: Path | None) -> str:
    """Set one project up in both ways and return its line."""
    ours, theirs = scratch / "ours", scratch / "theirs"
    source = str(next((mirrors / project.name.replace("/", "+")).glob("repo*"))) if mirrors else ""
    for place in (ours, theirs):
        clone(source or f"https://github.com/{project.name}", project.commit, place)
    when = output(["git", "log", "-1", "--format=%cs"], ours)
    environ, before = {**os.environ, **home(scratch)}, status(ours)
    began = time.monotonic()
    words = ["setup", "--quiet", "--json", "--interpreter", "system", "--project", ours / project.directory]
    done = run([*TOOL, *words], scratch, environ)
    seconds = time.monotonic() - began
    said = answer(done.stdout)
    work = around(ours / project.directory)
    python = (work / ".venv/bin/python").resolve() if done.returncode == 0 else None
    own = by_its_tool(project, theirs / project.directory, python, environ)
    their_work = around(theirs / project.directory)
    found, expected = contents(work, clone=ours), contents(their_work, clone=theirs)
    if done.returncode:
        outcome, kernel = f"{said.get('error')}: {first_line(said.get('message', done.stderr))}", "none"
    else:
        outcome = difference(found, expected) if own is None else f"{len(found)} packages"
        health = run([*TOOL, "kernel", "check", said["kernel"], "--quiet"], scratch, environ)
        kernel = "works" if health.returncode == 0 else first_line(health.stderr)
    again = run([*TOOL, *words], scratch, environ).stdout if done.returncode == 0 else ""
    steps = [step["action"] for step in answer(again).get("steps", [])]
    repeated = "nothing to do" if steps and {*steps} == {"already there"} else ", ".join(steps) or "none"
    imports = "none"
    if kernel == "works":
        their_python = None if own is not None else their_work / ".venv/bin/python"
        where = (ours / project.directory, theirs / project.directory)
        imports = compared_imports(*where, said["kernel"], environ, their_python)
    changed = ", ".join(sorted(status(ours) - before)) or "clean"
    undone = run([*TOOL, "undo", "--quiet"], scratch, environ)
    left = status(ours) - before or {path.name for path in work.glob(".venv*")}
    changed += ", as before" if undone.returncode == 0 and not left else f", left: {', '.join(sorted(left))}"
    what = f"{len(expected)} packages" if own is None else f"fails: {own}"
    cells = (str(project), when, project.format, what, outcome, kernel, imports, repeated, changed, f"{seconds:.0f}")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def by_its_tool(project: Project, place: Path, python: Path | None, environ: dict[str, str]) -> str | None:
    """Let the format's own tool make the environment; return its decisive words where that fails."""
    poetry = Path(environ["COLAB_ENV_HOME"]) / "bin/poetry"
    if project.format == "poetry.lock" and not poetry.is_file():
        run([*TOOL, "install-poetry", "--quiet"], place, environ)
    chosen = python or Path(sys.executable)
    minor = re.search(r"python3\.(\d+)", chosen.name)
    old = PIPENV.get(int(minor[1])) if minor else None
    pipenv = f"uvx --python {shlex.quote(str(chosen))} --with setuptools pipenv{f'=={old}' if old else ''}"
    commands = OWN[project.format].format(
        python=shlex.quote(str(chosen)),
        of_python=f" --python {shlex.quote(str(python))}" if python else "",  # else uv finds one that fits
        poetry=shlex.quote(str(poetry)),
        pdm=PDM,
        pipenv=pipenv,
    )
    environ = {
        **environ,
        "VIRTUAL_ENV": str(place / ".venv"),
        "PIPENV_VERBOSITY": "-1",
        "PIPENV_IGNORE_VIRTUALENVS": "0",
    }
    if project.format in ("uv.lock", "pyproject.toml"):
        del environ["VIRTUAL_ENV"]
    for command in commands.split("; "):
        done = run(shlex.split(command), place, environ)
        if done.returncode:
            return decisive(done.stdout + done.stderr)
    return None


def compared_imports(ours: Path, theirs: Path, kernel: str, environ: dict[str, str], their_python: Path | None) -> str:
    """Say how many imports of the project's files end well in its kernel, and which end otherwise with its own tool."""
    in_kernel = imported(run([sys.executable, "-c", KERNEL, kernel, CELL], ours, environ).stdout)
    good = f"{sum(end == 'ok' for end in in_kernel.values())} of {len(in_kernel)}"
    if their_python is None:
        return good
    expected = imported(run([their_python, "-c", CELL], theirs, environ).stdout)
    other = [
        f"{name}: {in_kernel.get(name)}, not {end}" for name, end in expected.items() if in_kernel.get(name) != end
    ]
    return f"{good}, {'; '.join(other)}" if other else f"{good}, as there"


def imported(text: str) -> dict[str, str]:
    return {line.split()[1]: line.split()[2] for line in text.splitlines() if line.startswith("imported ")}


def around(directory: Path) -> Path:
    """Return the directory with the environment: that one, or the nearest above it."""
    above = (place for place in (directory, *directory.parents) if (place / ".venv").is_dir())
    return next(above, directory)


def contents(place: Path, *, clone: Path) -> dict[str, str]:
    """Return where each distribution is from (PEP 610), by name and version; what tools put into every environment is left out."""
    found = {}
    for info in (place / ".venv").glob("lib/python3*/site-packages/*.dist-info"):
        name = re.sub(r"[-_.]+", "-", info.name.removesuffix(".dist-info").rpartition("-")[0]).lower()
        version = info.name.removesuffix(".dist-info").rpartition("-")[2]
        direct = info / "direct_url.json"
        told = json.loads(direct.read_text(encoding="utf-8")) if direct.is_file() else {}
        for key in ("archive_info",):  # whether a hash is written down is the installer's habit
            told.pop(key, None)
        if name not in ("pip", "setuptools", "wheel"):
            found[f"{name} {version}"] = json.dumps(told, sort_keys=True).replace(clone.as_uri(), "file://HERE")
    return found


def difference(ours: dict[str, str], theirs: dict[str, str]) -> str:
    """Say what differs, or "identical"."""
    parts = [f"+{each}" for each in sorted(ours.keys() - theirs.keys())]
    parts += [f"-{each}" for each in sorted(theirs.keys() - ours.keys())]
    parts += [
        f"{each} from {ours[each]}, not {theirs[each]}"
        for each in sorted(ours.keys() & theirs.keys())
        if ours[each] != theirs[each]
    ]
    return ", ".join(parts[:6]) + (f" and {len(parts) - 6} more" if len(parts) > 6 else "") or "identical"


def status(place: Path) -> set[str]:
    return set(output(["git", "status", "--porcelain"], place).splitlines())


def clone(source: str, commit: str, place: Path) -> None:
    """Check out one commit; a mirror may lack its largest files."""
    command = ["git", "clone", "--quiet", "--no-checkout", "--no-hardlinks", source, str(place)]
    subprocess.run(command, check=True, capture_output=True)
    subprocess.run(["git", "update-ref", "--no-deref", "HEAD", commit], cwd=place, check=True)
    subprocess.run(["git", "read-tree", "HEAD"], cwd=place, check=True)
    subprocess.run(["git", "checkout-index", "-a", "-f", "-q"], cwd=place, capture_output=True, check=False)


def home(scratch: Path) -> dict[str, str]:
    """Return a home of this project's own; uv's download cache is shared."""
    place = scratch / "home"
    place.mkdir()
    return {
        "HOME": str(place),
        "XDG_DATA_HOME": str(place / "share"),
        "JUPYTER_DATA_DIR": str(place / "jupyter"),
        "COLAB_ENV_HOME": str(place / "colab-env"),
        "PYENV_ROOT": os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv"),
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache/uv"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }


def run(argv: list[str | Path], cwd: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in environ.items() if name != "PYTHONPATH" or argv[:1] == TOOL[:1]}
    try:
        return subprocess.run(argv, cwd=cwd, env=environ, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 124, "", f"stopped after {LIMIT} s")


def output(argv: list[str], cwd: Path) -> str:
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=True).stdout.strip()


def answer(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text[text.index("{") :])
    except ValueError:
        return {}
    return found


def decisive(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if re.search(r"(?i)error|because|not found|failed", line)]
    return (marked or lines or ["?"])[0][:160]


def first_line(text: str) -> str:
    """Return the first and the last line of a message."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " … ".join(dict.fromkeys([lines[0][:160], lines[-1][:160]])) if lines else "?"


if __name__ == "__main__":
    main()
