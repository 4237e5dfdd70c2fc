"""The numbers of `native`: is the right package first, how large is the index, how long does it take.

    python benchmarks/native.py --rows ROWS.jsonl [--rows MORE.jsonl] [--index FILE] [--installed STATUS] [--sources DIRECTORY]
    python benchmarks/native.py --rows ROWS.jsonl --contents Contents-amd64.gz --packages Packages.xz [--packages MORE.xz]

Rows are as in tests/native/README.md: `needed_in_order` with kind, name and the package that was right, `accepted` with
others that were. They are judged twice: asked by the name of the thing, and from the text alone. Without --index the index
of this machine's release is made first, timed, in a directory of its own; --installed is dpkg's status file of the machine
that the rows failed on. With --contents and --packages the lists of another release are the index, such as Ubuntu's, whose
mirrors have them below `dists/`; names then count without `t64` and versions, for the rows have Debian's.

With --sources the source archives of the rows' builds are downloaded there, as far as they are not, and what is foreseen in
them is compared with what turned out to be needed. Rows that fail are listed, not averaged away. At the end
stands the table for docs/system-packages.md.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import os
import re
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from colab_env import _download
from colab_env.machine import Machine
from colab_env.native_need import published, source_archive
from colab_env.native_need.apt import Apt
from colab_env.native_need.contents import Contents, Packages, packed
from colab_env.native_need.extract import extract
from colab_env.native_need.lookup import needs
from colab_env.native_need.missing import Missing
from colab_env.native_need.packed_index import Index
from colab_env.native_need.ranking import packages_for, python_header

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
    "perl": "perl-module",
    "python": "python-library",
}
LANGUAGES = {"Rust": "rust", "rust": "rust"}


# libglib2.0-0t64 and libgdal34t64 are Debian's libglib2.0-0 and libgdal32.
ANOTHER_RELEASES = re.compile(r"(?<=[a-z-])\d[\d.]*(?:t64)?$|t64$|-\d[\d.]*(?=-)|(?<=python3)\.\d+")
TABLE: list[tuple[str, str, str]] = []  # what, to reach, measured
MEGABYTES = 10
COMPILERS = {"build-essential", "gcc", "g++", "make", "cpp", "libc6-dev", "libgomp1", "linux-libc-dev"}


def made_index(directory: str) -> Index:
    environ = {**os.environ, "COLAB_ENV_HOME": directory}
    start, processor = time.perf_counter(), time.process_time()
    index, _ = Apt(machine=Machine.detect(environ)).index()
    seconds, spent = time.perf_counter() - start, time.process_time() - processor
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"index: {index.path.stat().st_size / 1e6:.2f} MB, made in {seconds:.1f} s with its downloads", end=" ")
    print(f"({spent:.1f} s of this process), {memory} MB of memory")
    size = index.path.stat().st_size / 1e6
    TABLE.append(("index: packed size", "2.5 MB", f"{size:.2f} MB"))
    TABLE.append(("index: making it, of this process; memory", "15 s; 150 MB", f"{spent:.1f} s; {memory} MB"))
    return index


def index_of_lists(contents: list[Path], packages: list[Path], target: Path) -> Index:
    """Make an index from the lists of a release that need not be this machine's."""
    files, sections = Contents(), Packages()
    for paths, reader in ((contents, files.read), (packages, sections.read)):
        for path in paths:
            opener = lzma.open if path.suffix == ".xz" else gzip.open
            with opener(path) as stream:
                reader(iter(lambda stream=stream: stream.read(1 << 20), b""))  # type: ignore[misc]
    target.write_bytes(packed(files, sections, {"release": "another"}))
    return Index(target)


def is_right(name: str, right: set[str], *, loosely: bool) -> bool:
    """Say whether a package is one of those that are right."""
    plain = {ANOTHER_RELEASES.sub("", other) for other in right} if loosely else set()
    return name in right or ANOTHER_RELEASES.sub("", name) in plain


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


def judge(rows: Path, index: Index, *, loosely: bool) -> None:
    counts: Counter[str] = Counter()
    for missing, right in things(rows):
        names = [candidate.package for candidate in packages_for(missing, index).candidates]
        counts["all"] += 1
        verdicts = [is_right(name, right, loosely=loosely) for name in names[:3]]
        counts["first"] += verdicts[:1] == [True]
        counts["in three"] += any(verdicts)
        if verdicts[:1] != [True]:
            print(f"  not first: {missing.kind} {missing.name} ({missing.phase}): {names[:3]}, right: {sorted(right)}")
    total = max(counts["all"], 1)
    shares = (f"{word} {counts[word]} of {total} ({counts[word] / total:.1%})" for word in ("first", "in three"))
    print(f"{rows.name}, asked by name: {', '.join(shares)}")


def judge_texts(rows: Path, index: Index, installed: set[str], *, loosely: bool) -> None:
    """Judge the first missing thing of each row from what was printed alone: the package that `mend` would take first."""
    counts: Counter[str] = Counter()
    for line in rows.read_text().splitlines():
        row: dict[str, Any] = json.loads(line)
        present = installed | {name.partition("=")[0] for name in row.get("after", ())}
        if "no compiler" in row["base"]:
            present -= COMPILERS
        if "source" in row:  # somebody else's machine
            present = set()
        explanation = extract(row["log"])
        found = needs(explanation, index, installed=present)
        answers = [
            python_header(need, "/usr/bin/python3")
            if need.name == "Python.h"
            else packages_for(need, index, installed=present)
            for need in found
        ]
        names = next(([item.package for item in answer.candidates] for answer in answers if answer.package), [])
        if not row["needed_in_order"]:
            counts["others"] += 1
            counts["blamed"] += names != []
            if names:
                print(f"  blamed: {row['package']} on {names[:3]}")
            continue
        right = {row["needed_in_order"][0]["apt"], *row["accepted"]}
        verdicts = [is_right(name, right, loosely=loosely) for name in names[:3]]
        is_first = verdicts[:1] == [True]
        counts["all"] += 1
        counts["first"] += is_first
        counts["in three"] += any(verdicts)
        if row.get("named"):
            counts["named"] += 1
            counts["first of named"] += is_first
        if not is_first:
            print(f"  from text, not first: {row['package']}: {names[:3]}, right: {sorted(right)}")
    cells = (
        ("right package first, from the text", "97 %", "first", "all"),
        ("of those whose text names the thing", "97 %", "first of named", "named"),
        ("right among the first three", "99 %", "in three", "all"),
        ("another cause blamed on a package", "1 %", "blamed", "others"),
    )
    for what, aim, part, whole in cells:
        share = f"{counts[part]} of {counts[whole]} ({counts[part] / max(counts[whole], 1):.1%})"
        TABLE.append((f"{rows.stem}: {what}", aim, share))


def judge_sources(rows: Path, index: Index, installed: set[str], directory: Path) -> None:
    """Compare what the source archives of the rows' builds ask for with the packages that the builds turned out to need."""
    needed: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in rows.read_text().splitlines():
        row = json.loads(line)
        if row["phase"] == "build" and row["needed_in_order"] and "version" in row:
            needed.setdefault((row["package"], row["version"]), []).append(row)
    superfluous, whole, first = [], 0, 0
    if not needed:  # of failures that others reported, no source archive is known
        return
    for (name, version), links in needed.items():
        archive = source_of(name, version, directory)
        if archive is None:
            continue
        named = source_archive.needs(source_archive.read(archive), name)
        answers = [packages_for(need, index, installed=installed) for need in named]
        foreseen = {answer.package for answer in answers if answer.package}
        chain = [need for row in links for need in row["needed_in_order"] if need["apt"] not in installed]
        accepted = {package for row in links for package in row["accepted"]}
        absent = [need["apt"] for need in chain if need["apt"] not in foreseen and foreseen.isdisjoint(accepted)]
        superfluous.append(len(foreseen - accepted))
        whole += not absent
        first += not chain or chain[0]["apt"] not in absent
        if absent or superfluous[-1] > 2:
            print(f"  {name} {version}: not foreseen {absent}, superfluous {sorted(foreseen - accepted)}")
    total, middle = len(superfluous), sorted(superfluous)[len(superfluous) // 2]
    TABLE.append(
        (f"{rows.stem}: all that a build needs, foreseen", "80 %", f"{whole} of {total} ({whole / total:.1%})")
    )
    TABLE.append((f"{rows.stem}: the first of it", "80 %", f"{first} of {total} ({first / total:.1%})"))
    TABLE.append((f"{rows.stem}: superfluous packages", "0 in the middle, 2 at most", f"{middle}, {max(superfluous)}"))


def source_of(name: str, version: str, directory: Path) -> Path | None:
    """Return the source archive of a version, from the index that the machine is set to, or None where it has none."""
    url = published.page_url(name, Machine.detect())
    page = _download.read_once(url, accept="application/vnd.pypi.simple.v1+json") if url else None
    for file in json.loads(page)["files"] if page else ():
        if file["filename"].endswith((".tar.gz", ".zip")) and f"-{version}." in file["filename"]:
            archive = directory / file["filename"]
            if not archive.is_file():
                _download.fetch(urljoin(str(url), file["url"]), archive, sha256=file["hashes"]["sha256"])
            return archive
    return None


def time_texts() -> None:
    """Time logs of 10 MB: of many lines, of one, and one made against the patterns; one processor, the memory on top."""
    line = "copying build/lib.linux-x86_64-cpython-311/package/module.py -> build/bdist.linux-x86_64/wheel/package\n"
    end = "\nx.c:1:10: fatal error: gdal.h: No such file or directory\nerror: command 'gcc' failed with exit code 1\n"
    size = MEGABYTES * 1_000_000
    hostile = "could not find the a library a library " + "-" * 40 + "lib" * 20 + ": not found "
    logs = {
        "a log of 10 MB": line * (size // len(line)) + end,
        "one line of 10 MB": "x" * size + end,
        "one line of 10 MB of words": line.strip() * (size // len(line)) + end,
        "10 MB made against the patterns": hostile * (size // len(hostile)) + end,
    }
    for what, text in logs.items():
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        names = [need.name for need in extract(text).findings]
        spent, memory = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        TABLE.append((what, "1 s; 60 MB", f"{spent:.2f} s; {memory // 1024} MB; names {', '.join(names[:2])}"))


def time_first_finding(rows: Path, index_path: Path) -> None:
    """Time a recorded log to its packages, with a cold index each time."""
    took = []
    for line in rows.read_text().splitlines():
        log = json.loads(line)["log"]
        start = time.process_time()
        index = Index(index_path)
        _ = [packages_for(need, index).candidates for need in extract(log).findings]
        took.append(time.process_time() - start)
    median = sorted(took)[len(took) // 2]
    TABLE.append(("first finding, index there", "0.3 s", f"{median:.3f} s in the middle, {max(took):.3f} s at most"))


def time_lookups(path: Path) -> None:
    """Time 20 names, with a cold index each time."""
    names = ["zlib.h", "gdal-config", "cairo.pc", "libGL.so.1", "png.h", "mpi.h", "ffmpeg", "dot", "jni.h", "libpq.so"]
    names += ["curl.h", "yaml.h", "git", "x.h", "libz.so", "sqlite3.h", "swig", "Python.h", "libX11.so.6", "event.h"]
    took = []
    for _ in range(10):
        start = time.process_time()
        index = Index(path)
        for name in names:
            index.locations(name)
        took.append(time.process_time() - start)
    print(f"20 names: {min(took) * 1000:.0f} ms at best, {sorted(took)[5] * 1000:.0f} ms in the middle of 10")
    TABLE.append(("index: a lookup of 20 names, cold", "50 ms", f"{sorted(took)[5] * 1000:.0f} ms"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", action="append", default=[], type=Path)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--contents", action="append", default=[], type=Path)
    parser.add_argument("--packages", action="append", default=[], type=Path)
    parser.add_argument("--installed", type=Path, default=Path("/dev/null"))
    parser.add_argument("--sources", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        loosely = bool(options.contents)
        if loosely:
            index = index_of_lists(options.contents, options.packages, Path(directory, "another.index"))
        else:
            index = Index(options.index) if options.index else made_index(directory)
        installed = set(re.findall(r"(?m)^Package: (\S+)$", options.installed.read_text()))
        time_texts()
        time_lookups(index.path)
        for rows in options.rows:
            judge(rows, index, loosely=loosely)
            judge_texts(rows, index, installed, loosely=loosely)
            if options.sources:
                judge_sources(rows, index, installed, options.sources)
        if options.rows:
            time_first_finding(options.rows[0], index.path)
    print(f"\n| {time.strftime('%d %B %Y')} | to reach | measured |\n|---|---|---|")
    print("\n".join(f"| {what} | {aim} | {measured} |" for what, aim, measured in TABLE))


if __name__ == "__main__":
    main()
