"""Time `colab-env run` and `which` beside the program itself and gxenv, in one run: `python benchmarks/env_run.py`.

The ways take turns, so that a busy machine is busy for all of them. Also: 1,000 environments listed, and the disk that
environments with the same packages take beside plain ones made by venv and pip. Needs a package index (gxenv, numpy).
Prints tables; `--json FILE` writes the figures.
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
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from colab_env import envs  # noqa: E402

SHIM = """\
#!/bin/sh
export VIRTUAL_ENV="$BASE/$1" PATH="$BASE/$1/bin:$PATH"
program=$2
shift 2
exec "$VIRTUAL_ENV/bin/$program" "$@"
"""
HEADER = "| {} | median (ms) | fastest (ms) | more than the first (ms) | times the first |\n|---|---|---|---|---|"
PACKAGE = "numpy==2.1.3"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--environments", type=int, default=3, help="how many share their packages on the disk")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(Path(scratch), arguments.rounds, arguments.environments)
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measure(scratch: Path, rounds: int, environments: int) -> dict[str, object]:
    environ = prepared(scratch)
    run, which = ways(scratch)
    return {
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "run": turns(run, rounds, environ),
        "which": turns(which, rounds, environ),
        "list_1000": listing(scratch),
        "disk": disk(scratch, environments),
    }


def prepared(scratch: Path) -> dict[str, str]:
    """Install both tools and make one environment that both find; return the environment of every call."""
    os.environ.update({"COLAB_ENV_BASE": str(scratch / "envs"), "BASE": str(scratch / "envs"), "HOME": str(scratch)})
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run([sys.executable, "-m", "venv", scratch / "tools"], check=True)
    pip = [scratch / "tools/bin/pip", "install", "--quiet"]
    subprocess.run([*pip, "gxenv==0.2.1", str(ROOT)], check=True)
    config = scratch / ".config/gxenv/config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"env_base": f"{scratch}/envs/"}))
    (scratch / "shim").write_text(SHIM)
    (scratch / "shim").chmod(0o755)
    (scratch / "script.py").write_text("# /// script\n# dependencies = []\n# ///\n")
    envs.create("web")
    first_use = [scratch / "tools/bin/colab-env", "run", "--script", scratch / "script.py"]
    subprocess.run(first_use, check=True, capture_output=True)
    return dict(os.environ)


def ways(scratch: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the command lines that are compared, each under its name."""
    tools, program = str(scratch / "tools/bin"), ["-c", "pass"]
    run = {
        "the program itself": [f"{scratch}/envs/web/bin/python", *program],
        "a shell shim that execs": [f"{scratch}/shim", "web", "python", *program],
        "colab-env run": [f"{tools}/colab-env", "run", "web", "python", *program],
        "colab-env run, by its Python part": [f"{tools}/colab-env-main", "run", "web", "python", *program],
        "colab-env run --script (PEP 723)": [f"{tools}/colab-env", "run", "--script", f"{scratch}/script.py"],
        "gxenv run": [f"{tools}/python", "-m", "gxenv", "run", "web", "python", *program],
    }
    which = {
        "colab-env which": [f"{tools}/colab-env", "which", "web", "python"],
        "colab-env which, by its Python part": [f"{tools}/colab-env-main", "which", "web", "python"],
        "gxenv which": [f"{tools}/python", "-m", "gxenv", "which", "web", "python"],
    }
    return run, which


def turns(commands: Mapping[str, Sequence[str]], rounds: int, environ: Mapping[str, str]) -> dict[str, list[float]]:
    """Run every command once in each round, after one round that does not count; return seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, words in commands.items():
            began = time.perf_counter()
            subprocess.run(words, env=dict(environ), check=True, stdout=subprocess.DEVNULL)
            if number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def listing(scratch: Path) -> dict[str, list[float]]:
    """List 1,000 environments, as a function and as a command."""
    base = scratch / "thousand"
    for number in range(1000):
        shutil.copytree(scratch / "envs/.builds/web/1", base / f".builds/web-{number}/1", symlinks=True)
        (base / f"web-{number}").symlink_to(f".builds/web-{number}/1")
    words = [str(scratch / "tools/bin/colab-env"), "env", "list", "--base", str(base), "--json"]
    seconds = turns({"colab-env env list --json": words}, 5, os.environ)
    seconds["colab_env.envs.list_environments()"] = []
    for _ in range(5):
        began = time.perf_counter()
        assert len(envs.list_environments(base=base)) == 1000
        seconds["colab_env.envs.list_environments()"].append(time.perf_counter() - began)
    return seconds


def disk(scratch: Path, count: int) -> dict[str, int]:
    """Return the bytes that `count` environments with the same package add, in this way and in the plain one."""
    ours, plain = scratch / "disk-ours", scratch / "disk-plain"
    for number in range(count):
        envs.create(f"web-{number}", PACKAGE, base=ours)
        subprocess.run([sys.executable, "-m", "venv", plain / str(number)], check=True)
        subprocess.run([plain / str(number) / "bin/pip", "install", "--quiet", PACKAGE], check=True)
    return {"environments": count, "ours": used(ours), "plain": used(plain)}


def used(place: Path) -> int:
    """Return the bytes on the disk below a directory; a file with several names counts once."""
    return int(subprocess.run(["du", "-s", "-B1", place], check=True, capture_output=True, text=True).stdout.split()[0])


def show(figures: dict[str, object]) -> None:
    print(f"{figures['machine']}, {figures['cores']} cores, Python {figures['python']}\n")
    for verb in ("run", "which", "list_1000"):
        seconds = figures[verb]
        baseline = statistics.median(next(iter(seconds.values())))
        print(HEADER.format(verb))
        for name, values in seconds.items():
            middle = statistics.median(values)
            row = (middle * 1e3, min(values) * 1e3, (middle - baseline) * 1e3, middle / baseline)
            print("| {} | {:.1f} | {:.1f} | {:+.1f} | {:.2f} |".format(name, *row))
        print()
    sizes = figures["disk"]
    ours, plain = (f"{sizes[name] / 1e6:.0f} MB" for name in ("ours", "plain"))
    print(f"{sizes['environments']} environments with {PACKAGE}: {ours}, plain {plain}")


if __name__ == "__main__":
    main()
