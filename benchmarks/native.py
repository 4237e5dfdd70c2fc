"""The numbers of `native`: is the right package first, how large is the index, how long does it take.

    python benchmarks/native.py --rows ROWS.jsonl [--rows MORE.jsonl] [--index FILE]

Rows are as in tests/native/README.md: `needed_in_order` with kind, name and the package that was right, `accepted` with
others that were. Without --index the index of this machine's release is made first, timed, in a directory of its own.
Rows that fail are listed, not averaged away.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from colab_env.machine import Machine
from colab_env.native_need.apt import Apt
from colab_env.native_need.missing import Missing
from colab_env.native_need.packed_index import Index
from colab_env.native_need.ranking import packages_for

KINDS = {
    "exec": "command",
    "pc": "pkg-config",
    "soname": "shared-object",
    "find_library": "shared-object",
    "header": "header",
    "typelib": "typelib",
    "words": "words",
    "cmake": "cmake",
    "library": "library",
}
LANGUAGES = {"Rust": "rust", "rust": "rust"}


def made_index(directory: str) -> Index:
    environ = {**os.environ, "COLAB_ENV_HOME": directory}
    start, processor = time.perf_counter(), time.process_time()
    index, _ = Apt(machine=Machine.detect(environ)).index()
    seconds, spent = time.perf_counter() - start, time.process_time() - processor
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"index: {index.path.stat().st_size / 1e6:.2f} MB, made in {seconds:.1f} s with its downloads", end=" ")
    print(f"({spent:.1f} s of this process), {memory} MB of memory")
    return index


def things(rows: Path) -> Iterator[tuple[Missing, set[str]]]:
    """Return each missing thing once, and the packages that are right for it."""
    seen: set[tuple[str, str, str]] = set()
    for line in rows.read_text().splitlines():
        row: dict[str, Any] = json.loads(line)
        for need in row["needed_in_order"]:
            missing = as_missing(need, "build" if row["phase"] == "build" else "run")
            if (key := (missing.kind, missing.name, missing.phase)) not in seen:
                seen.add(key)
                yield missing, {need["apt"], *row["accepted"]}


def as_missing(need: dict[str, str], phase: Any) -> Missing:
    name, kind = need["name"], need["kind"]
    if name in LANGUAGES:
        return Missing(kind="compiler", name=LANGUAGES[name], phase=phase)
    if kind == "tool":
        is_config = name.endswith(("-config", "_config")) and name != "pkg-config"
        kind = "config-program" if is_config else "exec"
    return Missing(kind=KINDS.get(kind, kind), name=name, phase=phase)  # type: ignore[arg-type]


def judge(rows: Path, index: Index) -> None:
    counts: Counter[str] = Counter()
    for missing, right in things(rows):
        names = [candidate.package for candidate in packages_for(missing, index).candidates]
        counts["all"] += 1
        counts["first"] += names[:1] != [] and names[0] in right
        counts["in three"] += not right.isdisjoint(names[:3])
        if not names or names[0] not in right:
            print(f"  not first: {missing.kind} {missing.name} ({missing.phase}): {names[:3]}, right: {sorted(right)}")
    total = max(counts["all"], 1)
    shares = (f"{word} {counts[word]} of {total} ({counts[word] / total:.1%})" for word in ("first", "in three"))
    print(f"{rows.name}: {', '.join(shares)}")


def time_lookups(path: Path) -> None:
    """Time 20 names, with a cold index each time."""
    names = ["zlib.h", "gdal-config", "cairo.pc", "libGL.so.1", "png.h", "mpi.h", "ffmpeg", "dot", "jni.h", "libpq.so"]
    names += ["curl.h", "yaml.h", "git", "x.h", "libz.so", "sqlite3.h", "swig", "Python.h", "libX11.so.6", "event.h"]
    took = []
    for _ in range(10):
        start = time.perf_counter()
        index = Index(path)
        for name in names:
            index.locations(name)
        took.append(time.perf_counter() - start)
    print(f"20 names: {min(took) * 1000:.0f} ms at best, {sorted(took)[5] * 1000:.0f} ms in the middle of 10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", action="append", default=[], type=Path)
    parser.add_argument("--index", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        index = Index(options.index) if options.index else made_index(directory)
        time_lookups(index.path)
        for rows in options.rows:
            judge(rows, index)


if __name__ == "__main__":
    main()
