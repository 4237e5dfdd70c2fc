"""The figures of named environments in one table, side by side with pipx and `uv tool`: `python benchmarks/env_table.py`.

The ways take turns, so that a busy machine is busy for all of them. Needs a package index (pipx, flask, numpy). Processor time is
that of the command and all its children; a download cache is warm, since each has run once before.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from colab_env import _files, uv  # noqa: E402
from colab_env.machine import Machine  # noqa: E402

SCRIPT = "# /// script\n# dependencies = []\n# ///\n"
Commands = Sequence[Sequence[str | Path]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="where to work, such as on a file system with reflinks")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as scratch:
        for name, value in rows(Path(scratch), arguments.rounds):
            print(f"| {name} | {value} |", flush=True)


def rows(scratch: Path, rounds: int) -> Iterator[tuple[str, str]]:
    """Give the rows of the table, each as it is measured."""
    program = uv.find(Machine.detect()) or shutil.which("uv")
    environ = {"HOME": str(scratch), "COLAB_ENV_BASE": str(scratch / "envs"), "PIPX_HOME": str(scratch / "pipx")}
    environ |= {"PIPX_BIN_DIR": str(scratch / "bin"), "UV_TOOL_BIN_DIR": str(scratch / "bin")}
    os.environ.update(environ)
    for name in ("PYTHONDONTWRITEBYTECODE", "CI", "VIRTUAL_ENV"):
        os.environ.pop(name, None)
    tools = scratch / "tools/bin"
    subprocess.run([sys.executable, "-m", "venv", scratch / "tools"], check=True)
    subprocess.run([tools / "pip", "install", "--quiet", "pipx", str(ROOT)], check=True)
    if program:  # what is on the machine counts for all of them
        (tools / "uv").symlink_to(program)
        os.environ["PATH"] = f"{tools}:{os.environ['PATH']}"
    colab = tools / "colab-env"
    ways: dict[str, Commands] = {
        "colab-env": ([colab, "env", "create", "flask", "flask", "-q"], [colab, "env", "purge", "flask", "-q"]),
        "pipx": ([tools / "pipx", "install", "--quiet", "flask"], [tools / "pipx", "uninstall", "--quiet", "flask"]),
    }
    if program:
        install = [program, "tool", "install", "-q", "flask"]
        uninstall = [program, "tool", "uninstall", "-q", "flask"]
        ways["uv tool"] = (install, uninstall)
        ways["uv tool, with bytecode"] = ([*install, "--compile-bytecode"], uninstall)
    for name, seconds in turns(ways, rounds, processor_time).items():
        yield f"create and remove flask, processor time: {name}", written(seconds)

    run([colab, "env", "create", "web", "-q"])
    (scratch / "script.py").write_text(SCRIPT)
    starts: dict[str, Commands] = {
        "the program itself": ([scratch / "envs/web/bin/python", "-c", "pass"],),
        "colab-env run": ([colab, "run", "web", "python", "-c", "pass"],),
        "colab-env run --script": ([colab, "run", "--script", scratch / "script.py"],),
    }
    if program:
        starts["uv run --script"] = ([program, "run", "-q", "--script", scratch / "script.py"],)
    for name, seconds in turns(starts, 4 * rounds, wall_time).items():
        yield f"start: {name}", written(seconds)

    yield another_numpy(colab, scratch)
    run([colab, "env", "upgrade", "web", "-q"])
    back = turns(
        {"rollback": ([colab, "env", "rollback", "web", "1", "-q"], [colab, "env", "rollback", "web", "2", "-q"])},
        rounds,
        wall_time,
    )
    yield "rollback", written([seconds / 2 for seconds in back["rollback"]])
    for number in range(200):
        build = scratch / f"many/.builds/e{number}/1"
        shutil.copytree(scratch / "envs/.builds/web/1", build, symlinks=True)
        (scratch / f"many/e{number}").symlink_to(f".builds/e{number}/1")
    listed = turns({"list": ([colab, "env", "list", "--base", scratch / "many"],)}, rounds, wall_time)
    yield "list 200 environments", written(listed["list"])


def written(seconds: Sequence[float]) -> str:
    """Write the middle of some times, and the shortest, which says most on a machine that has other work."""
    return f"{1000 * statistics.median(seconds):.1f} ms, at best {1000 * min(seconds):.1f} ms"


def turns(ways: Mapping[str, Commands], rounds: int, measure: Callable[[Commands], float]) -> dict[str, list[float]]:
    """Measure each way once in each round, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, commands in ways.items():
            value = measure(commands)
            if number:
                seconds[name].append(value)
    return seconds


def wall_time(commands: Commands) -> float:
    began = time.perf_counter()
    for words in commands:
        run(words)
    return time.perf_counter() - began


def processor_time(commands: Commands) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for words in commands:
        run(words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def another_numpy(colab: Path, scratch: Path) -> tuple[str, str]:
    """Return how many MB a second environment with numpy adds, by what its file system says is free before and after.

    Where that has no reflinks, others may write to it meanwhile, and the files are counted instead.
    """
    has_reflinks = _files.unshared(scratch)["UV_LINK_MODE"] == "clone"
    measure = allocated if has_reflinks else counted
    run([colab, "env", "create", "numpy1", "numpy", "-q"])
    before = measure(scratch)
    run([colab, "env", "create", "numpy2", "numpy", "-q"])
    added = (measure(scratch) - before) / 1e6
    return f"one more numpy environment, {'with' if has_reflinks else 'without'} reflinks", f"{added:.1f} MB"


def allocated(directory: Path) -> int:
    os.sync()
    status = os.statvfs(directory)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def counted(directory: Path) -> int:
    done = subprocess.run(["du", "-s", "-B1", directory], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def run(words: Sequence[str | Path]) -> None:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 28):  # `list` says with 28 that there are some that are not healthy: copies are moved
        sys.exit(f"{words}: {done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
