"""Set twenty projects up side by side, a hundred times each, and count kernels that changed hands and packages that went.

`python -m tests.side_by_side` takes about ten minutes on two cores. No call names a kernel. The first set-ups all run at once;
after that, processes work on projects in an order of their own. `--python` may be given several times: projects take turns.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent)]

from small_wheels import write_wheel

ROOT = Path(__file__).resolve().parents[1]
_CALLS = """
import sys
sys.path.insert(0, sys.argv[1])
import colab_env
for project in sys.argv[2:]:
    colab_env.setup(project=project)
"""
_INSTALLED = """
import json, importlib.metadata as m
print(json.dumps(sorted(f"{d.metadata['Name']} {d.version}" for d in m.distributions())))
"""
_IN_KERNEL = """
import sys, json
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name=sys.argv[1], startup_timeout=120)
try:
    client.execute_interactive(f"import sys, {sys.argv[2]}; print(sys.prefix)", timeout=60)
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
"""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project whose lock file names a package of its own; one of `kind` "hand" gets another by hand, which no file names."""

    number: int
    path: Path
    kind: str
    python: str | None

    @property
    def package(self) -> str:
        return f"own_{self.number:02}"

    def first_options(self) -> dict[str, Any]:
        """Return the options of the first set-up; later ones have none."""
        lock = {"lock": str(self.path / "others.txt")} if self.kind == "other lock" else {}
        return {"project": str(self.path), "interpreter": "system", "python": self.python, **lock}


def main() -> int:
    """Return 1 if a kernel was stolen or a package lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.side_by_side", description=__doc__)
    parser.add_argument("--projects", type=int, default=20)
    parser.add_argument("--calls", type=int, default=100, help="set-ups of each project, the first included")
    parser.add_argument("--at-once", type=int, default=4, help="processes that repeat set-ups")
    parser.add_argument("--python", action="append", metavar="VERSION")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        environ = _environ(Path(directory))
        projects = _write(Path(directory), arguments.projects, arguments.python or [None])
        if failed := _all_at_once(projects, environ):
            print(*(f"✗ {line}" for line in failed), sep="\n")
            return 1
        kernels, packages = _kernels(environ), {project.path: _packages(project) for project in projects}
        failed = _again(projects, environ, arguments)
        stolen = [line for project in projects for line in _stolen(project, kernels, environ)]
        lost = [
            f"{project.path}: {name}"
            for project in projects
            for name in packages[project.path]
            if name not in _packages(project)
        ]
        mute = [line for project in projects if (line := _answer(project, kernels, environ))]
    for line in (*failed, *stolen, *lost, *mute):
        print(f"✗ {line}")
    count = arguments.projects * arguments.calls
    print(
        f"{arguments.projects} projects, {count} set-ups in {time.monotonic() - began:.0f} s: {len(failed)} failed, "
        f"{len(stolen)} kernels stolen, {len(lost)} packages lost, {len(mute)} kernels that are not their project's"
    )
    return int(bool(failed or stolen or lost or mute))


def _environ(directory: Path) -> dict[str, str]:
    unwanted = ("COLAB_", "XDG_", "JUPYTER", "IPYTHON", "PYTHONPATH", "VIRTUAL_ENV")
    own = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    own.setdefault("PYENV_ROOT", str(Path.home() / ".pyenv"))
    return {**own, "HOME": str(directory / "home"), "UV_CACHE_DIR": str(Path.home() / ".cache/uv")}


def _write(directory: Path, count: int, pythons: list[str | None]) -> list[Project]:
    (directory / "home").mkdir()
    projects = []
    for number in range(count):
        path = directory / f"course-{number}" / "lesson"  # one name for all: a kernel's name cannot come from it alone
        kind = ("requirements", "other lock", "hand")[number % 3]
        project = Project(number=number, path=path, kind=kind, python=pythons[number % len(pythons)])
        wheel = write_wheel(directory / "wheels", project.package, f"1.{number}")
        path.mkdir(parents=True)
        name = "others.txt" if kind == "other lock" else "requirements.txt"
        (path / name).write_text(f"{project.package} @ {wheel.as_uri()}\n")
        projects.append(project)
    return projects


def _all_at_once(projects: list[Project], environ: dict[str, str]) -> list[str]:
    code = f"import sys, json; sys.path.insert(0, {str(ROOT)!r}); import colab_env; colab_env.setup(**json.loads(sys.argv[1]))"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(project.first_options())],
            cwd=project.path,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for project in projects
    ]
    ended = [(process.communicate()[0], process.returncode) for process in started]
    for project in projects:
        if project.kind == "hand":
            wheel = write_wheel(project.path.parent / "wheels", "by_hand", "1.0")
            uv = [
                sys.executable,
                "-m",
                "uv",
                "pip",
                "install",
                "-q",
                "--python",
                project.path / ".venv/bin/python",
                wheel,
            ]
            subprocess.run(uv, check=True, env=environ)
    return [f"{project.path}: {text[-3000:]}" for project, (text, code) in zip(projects, ended, strict=True) if code]


def _again(projects: list[Project], environ: dict[str, str], arguments: argparse.Namespace) -> list[str]:
    """Set every project up so many times more, with several processes at a time; return what failed."""
    chance = random.Random(arguments.seed)
    turns = [project for project in projects for _ in range(arguments.calls - 1)]
    chance.shuffle(turns)
    # Some calls share a process, as cells of a notebook do, and others do not.
    batches = []
    while turns:
        size = chance.choice((1, 5, 25))
        batches.append([str(project.path) for project in turns[:size]])
        del turns[:size]

    def run(batch: list[str]) -> str:
        argv = [sys.executable, "-c", _CALLS, str(ROOT), *batch]
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
        return f"{batch}: {done.stderr[-500:]}" if done.returncode else ""

    with concurrent.futures.ThreadPoolExecutor(arguments.at_once) as pool:
        return [failure for failure in pool.map(run, batches) if failure]


def _kernels(environ: dict[str, str]) -> dict[str, str]:
    """Return the kernels of colab-env by their names, each with its project."""
    argv = [sys.executable, "-m", "colab_env", "kernel", "list", "--json"]
    done = subprocess.run(argv, env={**environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    return {kernel["name"]: kernel["project"] for kernel in json.loads(done.stdout)["kernels"] if kernel["ours"]}


def _stolen(project: Project, before: dict[str, str], environ: dict[str, str]) -> list[str]:
    own = [name for name, path in before.items() if path == str(project.path)]
    if len(own) != 1:
        return [f"{project.path} has the kernels {own}"]
    now = _kernels(environ).get(own[0])
    return [] if now == str(project.path) else [f"{own[0]} of {project.path} is that of {now}"]


def _packages(project: Project) -> list[str]:
    argv = [project.path / ".venv/bin/python", "-I", "-c", _INSTALLED]
    return list(json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout))


def _answer(project: Project, kernels: dict[str, str], environ: dict[str, str]) -> str:
    """Start the project's kernel and import its package there; return what is wrong, or nothing."""
    name = next((name for name, path in kernels.items() if path == str(project.path)), "none")
    argv = [sys.executable, "-c", _IN_KERNEL, name, project.package]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
    is_own = done.stdout.strip() == str(project.path / ".venv")
    return "" if is_own else f"{name} of {project.path}: {done.stdout[-200:]} {done.stderr[-300:]}"


if __name__ == "__main__":
    sys.exit(main())
