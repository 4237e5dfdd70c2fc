"""From a notebook file to its first cell on its own Python: colab-env beside juv: `python benchmarks/open_notebook.py --juv PATH`.

Each side gets the same notebook in an empty directory and an empty home, with warm download caches, and types what its user types:
the commands are counted. A server is started, and the notebook's cells are run over its API, as a page does it. Then the two
change notebooks: each runs, by the lock in the metadata, what the other has locked.

`--juv` names the command juv (`uv tool install juv`); without it only colab-env is measured. Prints a table, and `--json FILE`
writes it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from jupyter_session import TOKEN, free_port, serving  # noqa: E402

BLOCK = '# /// script\n# requires-python = ">=3.10"\n# dependencies = ["rich==13.9.4", "six"]\n# ///'
CELL = "import rich, six, sys; from importlib.metadata import version; print(version('rich'), version('six'))"
OLD = "1.15.0"  # of six: a lock holds it, nothing else asks for it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--juv", type=Path, help="the command juv")
    parser.add_argument("--rounds", type=int, default=2, help="the first makes the environment, the others find it")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sides = {
        "colab-env": [sys.executable, "-m", "colab_env"],
        **({"juv": [str(arguments.juv)]} if arguments.juv else {}),
    }
    figures = {side: measure(side, command, arguments.rounds) for side, command in sides.items()}
    print(f"{'':12}{'commands':>10}{'server, s':>24}{'first cell, s':>24}")
    for side, rows in figures.items():
        servers, cells = ([f"{row[key]:.1f}" for row in rows] for key in ("server", "cell"))
        print(f"{side:12}{rows[0]['commands']:>10}{', '.join(servers):>24}{', '.join(cells):>24}")
    if arguments.juv:
        print("locked by colab-env, run by juv:", exchange(sides["colab-env"], sides["juv"], reader="juv"))
        print("locked by juv, run by colab-env:", exchange(sides["juv"], sides["colab-env"], reader="colab-env"))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measure(side: str, command: list[str], rounds: int) -> list[dict[str, float]]:
    """Open a notebook that has a block, `rounds` times in one home; return what each took."""
    with tempfile.TemporaryDirectory(prefix="open-") as scratch:
        environ, notebook = surroundings(Path(scratch)), write(Path(scratch) / "lesson.ipynb", BLOCK, CELL)
        rows = []
        for _ in range(rounds):
            began = time.monotonic()
            port = free_port()
            with serving(opening(side, command, notebook, port), notebook, environ=environ, port=port) as server:
                answered = time.monotonic() - began
                printed = server.run_notebook()
                rows.append({"commands": 1, "server": answered, "cell": time.monotonic() - began})
            if not printed[-1].startswith("13.9.4 "):
                sys.exit(f"{side} printed {printed}")
        return rows


def exchange(locker: list[str], runner: list[str], *, reader: str) -> str:
    """Lock a notebook with one tool, run it with the other, and return what it printed: an old six is the lock's."""
    with tempfile.TemporaryDirectory(prefix="open-") as scratch:
        environ, pinned = surroundings(Path(scratch)), BLOCK.replace('"six"', f'"six=={OLD}"')
        notebook = write(Path(scratch) / "lesson.ipynb", pinned, CELL)
        subprocess.run([*locker, "lock", notebook], env=environ, check=True, capture_output=True)
        if "colab_env" in locker:  # a second lock keeps the versions of the first, which the block no longer names
            notebook.write_text(notebook.read_text().replace(f"six=={OLD}", "six"))
            subprocess.run([*locker, "lock", notebook], env=environ, check=True, capture_output=True)
        port = free_port()
        with serving(opening(reader, runner, notebook, port), notebook, environ=environ, port=port) as server:
            return server.run_notebook()[-1].strip()


def opening(side: str, command: list[str], notebook: Path, port: int) -> list[str | Path]:
    """Return the one command, in a form for a machine without a browser."""
    quiet = ["--no-browser", f"--port={port}"]
    token = f"--IdentityProvider.token={TOKEN}"
    if side == "juv":
        root = ["--allow-root"] if os.geteuid() == 0 else []
        return [*command, "run", notebook, "--", *quiet, token, *root]
    return [*command, "open", notebook, *quiet, "--", token]


def surroundings(scratch: Path) -> dict[str, str]:
    """Return an environment with an empty home; uv's cache, and pip's settings, are the machine's."""
    home = scratch / "home"
    home.mkdir()
    cache = Path(os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache/uv")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COLAB_ENV", "XDG", "JUPYTER"))}
    settings = Path.home() / ".config/pip/pip.conf"
    places = {
        "HOME": str(home),
        "UV_CACHE_DIR": str(cache),
        "COLAB_ENV_BASE": str(home / "envs"),
        "PYTHONPATH": str(ROOT),
        "JUV_RUN_MODE": "replace",
    }
    return {**kept, **places, **({"PIP_CONFIG_FILE": str(settings)} if settings.is_file() else {})}


def write(path: Path, *sources: str) -> Path:
    code = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    cells = [
        {**code, "id": f"c{number}", "source": source.splitlines(keepends=True)}
        for number, source in enumerate(sources)
    ]
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    value = {"cells": cells, "metadata": {"kernelspec": kernelspec}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
