"""Set up public Poetry projects end to end and talk to their kernels: `python benchmarks/projects.py`.

Each project is the source archive that its authors have put on PyPI. Prints one row for each project and Python.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import colab_env  # noqa: E402
from colab_env import ColabEnvError, _report  # noqa: E402

PROJECTS = {"rich": "14.0.0", "cleo": "2.1.0", "tomlkit": "0.13.2", "poetry-core": "2.1.3"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", help="may be given twice (default: 3.11 and 3.12)")
    pythons = parser.parse_args().python or ["3.11", "3.12"]
    print("| project | Python | packages | first set-up (s) | again (s) | kernel |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.update(_environ(Path(scratch)))
        for name, version in PROJECTS.items():
            source = unpacked(f"{name}=={version}", Path(scratch) / name)
            for python in pythons:
                print(row(name, version, source, python), flush=True)


def row(name: str, version: str, source: Path, python: str) -> str:
    """Set one project up twice and return its line."""
    shutil.rmtree(source / ".venv", ignore_errors=True)
    kernel = f"{name}-{python}"
    try:
        with _report.screen(_report.Silent()):
            first = colab_env.setup(python, interpreter="system", project=source, kernel=kernel)
            began = time.perf_counter()
            colab_env.setup(python, interpreter="system", project=source, kernel=kernel)
            again = time.perf_counter() - began
            health = colab_env.check_kernel(kernel)
    except ColabEnvError as error:
        return f"| {name} {version} | {python} | | | | {type(error).__name__}: {error.message.splitlines()[0]} |"
    packages = len(list(source.glob(".venv/lib/python3*/site-packages/*.dist-info")))
    works = "works: " + ", ".join(health.outcome.seconds) if health.ok else str(health.outcome.failure)
    exact = first.steps[0].python.version
    return f"| {name} {version} | {exact} | {packages} | {first.seconds:.1f} | {again:.2f} | {works} |"


def unpacked(requirement: str, directory: Path) -> Path:
    """Download a source archive with pip and unpack it."""
    directory.mkdir()
    name = requirement.partition("==")[0]
    argv = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", name]
    with contextlib.redirect_stdout(io.StringIO()):
        subprocess.run([*argv, "-d", str(directory), requirement], check=True, capture_output=True)
    with tarfile.open(next(directory.glob("*.tar.gz"))) as archive:
        archive.extractall(directory, filter="data")
    return next(path for path in directory.iterdir() if path.is_dir())


def _environ(scratch: Path) -> dict[str, str]:
    pyenv = os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
    (scratch / "home").mkdir()
    return {"HOME": str(scratch / "home"), "PYENV_ROOT": pyenv, "UV_CACHE_DIR": str(scratch / "uv")}


if __name__ == "__main__":
    main()
