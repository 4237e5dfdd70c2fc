"""Damage one installed file at a time and see whether it is found and mended: `python benchmarks/corruptions.py`.

A project with a poetry.lock is set up in an empty home, and used. Then, `--count` times: one file of its environment, of the
kernel's packages, of Poetry, or of uv's cache, drawn at random, is damaged in a way drawn at random. `colab_env.verify`
must find it, and `verify(repair=True)` must bring back every file with its content; a compiled file that is gone is no
damage. From a damaged cache, a new environment must be the same as the first. A flipped bit of a compiled file that leaves its
header, and every byte of the code that Python loads from it, as they were is no damage either: it is counted apart, and
another is drawn. `--seed` draws others. With `--science`, the time that proving 500 MB takes is measured too. Prints a table,
and what was missed; the exit code is 1 when there was any.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "benchmarks" / "locks"
WAYS = ("flipped", "truncated", "emptied", "deleted", "appended", "made a directory")
HEADER = 16  # bytes of a compiled file, all of which count (PEP 552)
# In the first form of marshal, which has no references, the same code is the same bytes, whichever way it was written.
LOADED = """
import marshal, sys
data = sys.stdin.buffer.read()
sys.stdout.buffer.write(marshal.dumps(marshal.loads(data), 0))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="draw no more after so many")
    parser.add_argument("--science", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"HOME": scratch, "UV_CACHE_DIR": f"{scratch}/uv-cache", "COLAB_ENV_HOME": f"{scratch}/colab-env"}
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        sys.path.insert(0, str(ROOT))
        missed = damage(Path(scratch), arguments.count, random.Random(arguments.seed), seconds=60 * arguments.minutes)
        if arguments.science:
            science(Path(scratch))
    return 1 if missed else 0


def damage(scratch: Path, count: int, chosen: random.Random, *, seconds: float) -> int:
    import colab_env
    from colab_env import _report

    project = shutil.copytree(LOCKS / "small", scratch / "project")
    with _report.screen(_report.Silent()):
        colab_env.setup("3.12", interpreter="system", project=project)
        subprocess.run([project / ".venv/bin/python", "-c", "import json, pydoc, requests"], check=False)
        assert colab_env.verify(project).ok
    parts = {each.name: each.where for each in colab_env.verify(project).parts}
    parts["uv's cache"] = scratch / "uv-cache"
    before = {name: digests(where) for name, where in parts.items() if name != "uv's cache"}
    pythons = [project / ".venv/bin/python", parts["Poetry"] / "venv/bin/python"]
    tried, found, repaired, same = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    began = time.monotonic()
    for number in range(count):
        if time.monotonic() - began > seconds:
            break
        name, file, way = drawn(parts, chosen, pythons, same)
        tried[name] += 1
        with _report.screen(_report.Silent()):
            was_found, is_whole = (
                _cache(project, scratch / f"other-{number}", before)
                if name == "uv's cache"
                else _tree(project, name, parts, before)
            )
        found[name] += was_found
        repaired[name] += is_whole
        if number % 100 == 99:
            print(f"{number + 1} tried", file=sys.stderr, flush=True)
        if not (was_found and is_whole):
            print(f"missed: {name}: {file} {way}, found {was_found}, repaired {is_whole}", flush=True)
    print(f"{'':<12} {'damaged':>8} {'found':>8} {'repaired':>8} {'no change':>10}")
    for name in [*sorted(parts), ""]:
        rows = [sum(each.values()) if not name else each[name] for each in (tried, found, repaired, same)]
        print(f"{name or 'all':<12} " + " ".join(f"{row:>8}" for row in rows[:3]) + f" {rows[3]:>10}")
    return 2 * sum(tried.values()) - sum(found.values()) - sum(repaired.values())


def drawn(
    parts: dict[str, Path], chosen: random.Random, pythons: list[Path], same: Counter[str]
) -> tuple[str, str, str]:
    """Damage a file, and return which one of which part, and how; what changed nothing is counted in `same`."""
    while True:
        name = chosen.choice(sorted(parts))
        file = chosen.choice(files(parts[name]))
        path, way = parts[name] / file, chosen.choice(WAYS)
        is_compiled = file.endswith(".pyc")
        if is_compiled and way == "deleted":  # no damage: Python writes it anew
            way = "emptied"
        before = b"" if path.is_symlink() else path.read_bytes()
        if path.is_symlink() or not change(path, way, chosen):
            path.unlink()
            way = "deleted"
        if is_compiled and way == "flipped" and is_same_code(path, before, pythons):
            status = path.stat()
            path.write_bytes(before)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
            same[name] += 1
            continue
        return name, file, way


def is_same_code(path: Path, before: bytes, pythons: list[Path]) -> bool:
    """Say whether Python loads the same from a compiled file as before, to the last byte of what it can write of it."""
    tag = path.name.split(".")[-2]
    argv = [[python, "-c", "import sys; print(sys.implementation.cache_tag)"] for python in pythons]
    tags = [subprocess.run(each, capture_output=True, text=True, check=True).stdout.strip() for each in argv]
    after = path.read_bytes()
    if tag not in tags or after[:HEADER] != before[:HEADER]:
        return False
    loads = [pythons[tags.index(tag)], "-I", "-S", "-c", LOADED]
    loaded = [subprocess.run(loads, input=data[HEADER:], capture_output=True, check=False) for data in (before, after)]
    return not any(each.returncode for each in loaded) and loaded[0].stdout == loaded[1].stdout


def _tree(project: Path, name: str, parts: dict[str, Path], before: dict[str, dict[str, str]]) -> tuple[bool, bool]:
    import colab_env

    try:
        found = part(project, name)
        was_found = found is None or bool(found.damaged) or found.note is not None
        mended = part(project, name, repair=True)
        is_whole = mended is not None and not mended.damaged
    except colab_env.ColabEnvError as error:  # the receipt itself: `setup` says what is wrong, and mends it
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
        was_found = any(step.changed for step in colab_env.setup("3.12", interpreter="system", project=project).steps)
        is_whole = colab_env.verify(project).ok
    return was_found, is_whole and is_same(before[name], digests(parts[name]))


def part(project: Path, name: str, *, repair: bool = False) -> Any:
    """Do what `verify` does with one of its three directories: to read the others each time would take three times as long."""
    from colab_env import venv, verifying
    from colab_env.errors import MissingStepError
    from colab_env.machine import Machine

    machine, python = Machine.detect(), venv.recorded_python(project)
    if python is None:
        raise MissingStepError(str(project))
    trees = [tree for tree in verifying._trees(project, python, machine) if tree.name == name]
    return verifying._verified(trees[0], machine, repair=repair) if trees else None


def _cache(project: Path, other: Path, before: dict[str, dict[str, str]]) -> tuple[bool, bool]:
    """Fill another environment from the cache: what is wrong there is found by not being in it."""
    import colab_env

    other.mkdir()
    for file in ("poetry.lock", "pyproject.toml", "poetry.toml"):
        if (project / file).is_file():
            shutil.copy2(project / file, other / file)
    colab_env.configure_venv(other)
    is_whole = not part(other, "Environment").damaged and is_same(
        before["Environment"], digests(other / ".venv"), moved=True
    )
    shutil.rmtree(other)
    return is_whole, is_whole


def change(path: Path, way: str, chosen: random.Random) -> bool:
    """Damage a file; False where this way changes nothing."""
    data = bytearray(path.read_bytes())
    if not data and way in ("flipped", "truncated", "emptied"):
        return False
    path.unlink()  # as a disk or an editor would: what shares its bytes by a hard link keeps them
    if way == "made a directory":
        path.mkdir()
    elif way == "appended":
        path.write_bytes(data + b"\n#")
    elif way == "flipped":
        data[chosen.randrange(len(data))] ^= 1 << chosen.randrange(8)
        path.write_bytes(data)
    elif way != "deleted":
        path.write_bytes(b"" if way == "emptied" else data[: chosen.randrange(len(data))])
    return True


def files(directory: Path) -> list[str]:
    """Return every file and link below a directory: those of uv's cache change as it heals."""
    found = (path for path in directory.rglob("*") if path.is_symlink() or path.is_file())
    return sorted(str(path.relative_to(directory)) for path in found)


def digests(directory: Path) -> dict[str, str]:
    from colab_env import content

    return content.Survey(directory).digests


def is_same(before: dict[str, str], now: dict[str, str], *, moved: bool = False) -> bool:
    """Say whether all that was there is there again; in a directory of another name, scripts name another Python."""
    kept = {path for path in before if not path.endswith(".pyc") and not (moved and is_script(path))}
    return all(before[path] == now.get(path) for path in kept)


def is_script(path: str) -> bool:
    return path.startswith("bin/") or path.endswith(("RECORD", "direct_url.json", "uv_cache.json"))


def science(scratch: Path) -> None:
    import colab_env
    from colab_env import _report

    project = shutil.copytree(LOCKS / "science", scratch / "science")
    with _report.screen(_report.Silent()):
        colab_env.setup("3.12", interpreter="system", project=project)
        found = [part(project, "Environment") for _ in range(5)]
        assert not any(each.damaged for each in found)
        seconds = sorted(each.seconds for each in found)
        print(f"{found[0].files:,} files proven: median {seconds[2]:.2f} s, best {seconds[0]:.2f} s")
        took: dict[str, list[float]] = {"": [], "hardlink": []}
        for _ in range(3):
            for mode, times in took.items():
                shutil.rmtree(project / ".venv")
                os.environ.pop("UV_LINK_MODE", None)
                os.environ.update({"UV_LINK_MODE": mode} if mode else {})
                began = time.monotonic()
                colab_env.configure_venv(project)
                times.append(time.monotonic() - began)
    own, shared = (sorted(times)[1] for times in took.values())
    print(f"filled from a warm cache: files of its own {own:.2f} s, hard links {shared:.2f} s (medians of 3)")


if __name__ == "__main__":
    sys.exit(main())
