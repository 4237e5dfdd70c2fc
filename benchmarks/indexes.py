"""Set a project up from nothing on every kind of package index: `python benchmarks/indexes.py`.

The packages are real and are fetched once, from the index that this machine uses; then an index on this machine serves them in
each of the ways of `tests/index_server.py`, in the place of the default index, and nothing else is reached. Every
set-up begins with an empty home directory: uv, Poetry, the kernel's packages and the project's come from that index.
Prints one row for each way.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from index_server import BEHAVIOURS, IndexServer  # noqa: E402

from colab_env import pins  # noqa: E402
from colab_env.jupyter import colab_layer  # noqa: E402

PROJECT = """\
[project]
name = "lesson"
version = "0.1.0"
requires-python = ">=3.10"
dependencies = ["rich>=13", "attrs"]

[tool.poetry]
package-mode = false
"""
ADDED = "six"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", metavar="WAY", choices=list(BEHAVIOURS), help="may be repeated")
    chosen = parser.parse_args().only or list(BEHAVIOURS)
    with tempfile.TemporaryDirectory() as scratch:
        wheels, tool = fetch(Path(scratch) / "wheels"), install(Path(scratch) / "tool")
        print("| the index | `setup` (s) | kernel | `poetry add` | `configure-venv` | `env create` | `plan` |")
        print("|---|---:|---|---|---|---|---|", flush=True)
        for name in chosen:
            with IndexServer(wheels, behaviour=BEHAVIOURS[name]) as index, index.environ() as network:
                print(row(name, tool, Path(scratch) / "home", network), flush=True)


def fetch(directory: Path) -> Path:
    """Fetch everything that a set-up needs, once."""
    short = ".".join(map(str, sys.version_info[:2]))
    kernel = [name for each in colab_layer.kernel_requirements(short, colab=False) for name in each.names]
    directory.mkdir()
    limits = directory.with_name("constraints.txt")
    limits.write_text(colab_layer.kernel_constraints(short, colab=False))
    poetry = [f"poetry=={pins.POETRY}", pins.POETRY_MIRROR_PLUGIN, pins.POETRY_EXPORT_PLUGIN]
    names = [*poetry, *kernel, f"uv=={pins.UV}", "pip", "rich>=13", "attrs", ADDED]
    argv = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-qq",
        "--only-binary=:all:",
        "--dest",
        directory,
        "-c",
        limits,
        *names,
    ]
    subprocess.run(argv, check=True)
    return directory


def install(directory: Path) -> Path:
    """Install this package as a person does, and return its command."""
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    subprocess.run([directory / "bin/python", "-m", "pip", "install", "-qq", ROOT], check=True)
    return directory / "bin/colab-env"


def row(name: str, tool: Path, home: Path, network: Mapping[str, str]) -> str:
    """Use every command that needs the index once, from an empty home, and return the line of the table."""
    shutil.rmtree(home, ignore_errors=True)
    project = home / "lesson"
    project.mkdir(parents=True)
    (project / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    kept = {key: os.environ[key] for key in ("LANG", "TERM") if key in os.environ}
    path = f"{Path(sys.executable).resolve().parent}:/usr/bin:/bin"
    environ = {**kept, **network, "HOME": str(home), "PATH": path, "PIP_CONFIG_FILE": os.devnull}
    environ["COLAB_ENV_BASE"] = str(home / "envs")  # as root, named environments would go to the machine's place
    poetry = home / ".local/share/colab-env/bin/poetry"

    def works(*argv: str | Path) -> str:
        if not Path(argv[0]).exists():
            return "not there"
        done = subprocess.run(argv, env=environ, cwd=project, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stdout, done.stderr, file=sys.stderr)
        return "yes" if done.returncode == 0 else f"exit code {done.returncode}"

    began = time.monotonic()
    first = works(tool, "setup", "--interpreter", "system", "--python", sys.executable, "--kernel", "lesson")
    seconds = f"{time.monotonic() - began:.1f}" if first == "yes" else first
    cells = [
        works(tool, "kernel", "check", "lesson"),
        works(poetry, "add", "--no-interaction", ADDED),
        works(tool, "configure-venv", "--no-groups"),
        works(tool, "env", "create", "named", "--project", project),
        works(tool, "plan", "--interpreter", "system"),
    ]
    return f"| {name} | {seconds} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
