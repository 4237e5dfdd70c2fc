"""Time a restore against the floor, `tar --zstd -x` of the same file, in turns: `python benchmarks/restore.py TREE`.

TREE is any directory, such as the virtual environment of a large project. Both sides unpack the same snapshot into an
empty directory on the same file system; between two runs the disk is told to write what is waiting (`sync`). Needs tar and
zstd. Prints a table; `--json FILE` writes the figures. With `--levels`, the snapshot is also written at several levels.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_SAVE = (
    "import sys; from pathlib import Path; from colab_env.snapshot import _archive; _archive._LEVEL = int(sys.argv[3])\n"
    "with Path(sys.argv[2]).open('wb') as out:\n"
    "    trees = [_archive.Tree(name='tree', directory=Path(sys.argv[1]))]\n"
    "    packed = _archive.Contents(manifest={}, files={}, trees=trees, check=lambda *_: None)\n"
    "    _archive.write(out, packed, sign=None)\n"
)
_RESTORE = (
    "import sys; from pathlib import Path; from colab_env.snapshot import _unpack, manifest\n"
    "with Path(sys.argv[1]).open('rb') as file:\n"
    "    targets = {'tree': Path(sys.argv[2]) / 'tree'}\n"
    "    _unpack.unpack(file, manifest.read_footer(file), targets=targets, check=lambda *_: None)\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--levels", type=int, nargs="*", default=[])
    parser.add_argument("--scratch", type=Path, help="where to unpack (default: a temporary directory)")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = measure(arguments.tree, arguments.rounds, arguments.levels, arguments.scratch)
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measure(tree: Path, rounds: int, levels: list[int], scratch: Path | None) -> dict[str, object]:
    runs: dict[str, list[dict[str, float]]] = {"restore": [], "tar": []}
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        out, file = Path(place) / "out", Path(place) / "a.tar.zst"
        saves = [
            {"level": level, **timed([sys.executable, "-c", _SAVE, tree, file, level]), "bytes": file.stat().st_size}
            for level in [*levels, 3]
        ]
        for number in range(rounds):
            sides = ["restore", "tar"] if number % 2 == 0 else ["tar", "restore"]
            for side in sides:
                out.mkdir()
                argv = {
                    "restore": [sys.executable, "-c", _RESTORE, file, out],
                    "tar": ["tar", "--zstd", "-xf", file, "-C", out],
                }
                runs[side].append(timed(argv[side]))
                shutil.rmtree(out)
                os.sync()
    ratios = [ours["seconds"] / tar["seconds"] for ours, tar in zip(runs["restore"], runs["tar"], strict=True)]
    cpu = [ours["cpu"] / tar["cpu"] for ours, tar in zip(runs["restore"], runs["tar"], strict=True)]
    return {
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "files": sum(len(files) for _, _, files in os.walk(tree)),
        "bytes": sum(path.lstat().st_size for path in tree.rglob("*") if path.is_file() and not path.is_symlink()),
        "saves": saves,
        "runs": runs,
        "ratio": statistics.median(ratios),
        "ratio of cpu": statistics.median(cpu),
    }


def timed(argv: list[object]) -> dict[str, float]:
    """Run a program; return its seconds, its processor seconds with its children's, and its peak memory in bytes."""
    began = time.monotonic()
    child = subprocess.Popen([str(word) for word in argv], env={**os.environ, "PYTHONPATH": str(ROOT)})
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, child.args)
    return {"seconds": time.monotonic() - began, "cpu": _cpu(used), "memory": used.ru_maxrss * 1024}


def _cpu(used: resource.struct_rusage) -> float:
    return used.ru_utime + used.ru_stime


def show(figures: dict[str, object]) -> None:
    print(
        f"{figures['files']} files, {figures['bytes'] / 1e6:.0f} MB; {figures['cores']} cores, load {figures['load']:.1f}"
    )
    for save in figures["saves"]:
        print(f"save, level {save['level']}: {save['seconds']:.1f} s, {save['bytes'] / 1e6:.0f} MB, {_peak(save)}")
    print("| | median (s) | lowest | highest | processor (s) | peak memory |\n|---|---|---|---|---|---|")
    for side, runs in figures["runs"].items():
        seconds = [run["seconds"] for run in runs]
        cpu = statistics.median(run["cpu"] for run in runs)
        spread = f"{statistics.median(seconds):.2f} | {min(seconds):.2f} | {max(seconds):.2f}"
        print(f"| {side} | {spread} | {cpu:.2f} | {_peak(max(runs, key=lambda run: run['memory']))} |")
    print(f"ratio, median of the rounds: {figures['ratio']:.2f} (processor time: {figures['ratio of cpu']:.2f})")


def _peak(run: dict[str, float]) -> str:
    return f"{run['memory'] / 1e6:.0f} MB"


if __name__ == "__main__":
    main()
