"""Cut the fixtures of `test_native_packages.py` out of apt's own lists: every line of them is a real one.

    python -m tests.native.cut_lists LISTS_DIRECTORY tests/native/debian-12

LISTS_DIRECTORY is where apt keeps Contents and Packages lists (`apt-get update` with Contents enabled, as
`colab_env.native_need.apt` does). From Contents come the lines of the names below and their neighbours, from Packages the
fields that the ranking reads, of the packages in those lines, of ten packages that depend on each, and of their own
libraries.
"""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

HELPER = "/usr/lib/apt/apt-helper"
FIELDS = ("Package", "Source", "Depends", "Pre-Depends")
DEPENDANTS = 10
NAMES = Path(__file__).with_name("names.txt")


def lines(path: Path) -> list[str]:
    done = subprocess.run([HELPER, "cat-file", path], capture_output=True, check=True)
    return done.stdout.decode(errors="replace").splitlines()


def cut_contents(directory: Path, names: set[str], target: Path) -> set[str]:
    packages: set[str] = set()
    for path in sorted(directory.glob("*Contents-*")):
        chosen = []
        for line in lines(path):
            file, where = line.replace("\t", " ").rsplit(" ", 1)
            base = file.rstrip().rpartition("/")[2]
            if file.split("/")[1:2] in (["share"], ["aarch64-linux-gnu"]) and "cmake" not in base:
                continue
            if base in names or re.sub(r"\.so\.[0-9.]+$", ".so", base) in names:
                chosen.append(line)
                packages |= {word.rpartition("/")[2] for word in where.split(",")}
        if chosen:
            (target / f"{'_'.join(path.name.split('_')[-2:])}".replace(".lz4", "")).write_text("\n".join(chosen) + "\n")
    return packages


def cut_packages(directory: Path, wanted: set[str], target: Path) -> None:
    stanzas: dict[str, dict[str, str]] = {}
    for path in sorted(directory.glob("*Packages*")):
        current: dict[str, str] = {}
        for line in lines(path):
            name, _, value = line.partition(": ")
            if name == "Package":
                current = stanzas.setdefault(value, {})
            if name in FIELDS:
                current.setdefault(name, value)
    dependants = defaultdict(list)
    needs = {
        name: set(re.findall(r"(?:^|[,|]) *([a-z0-9][a-z0-9+.-]+)", stanza.get("Depends", "")))
        for name, stanza in stanzas.items()
    }
    for name, others in needs.items():
        for other in others:
            dependants[other].append(name)
    chosen = set(wanted)
    for name in wanted:
        source = stanzas.get(name, {}).get("Source", name)
        chosen |= {other for other in needs.get(name, ()) if stanzas.get(other, {}).get("Source", other) == source}
    for name in sorted(chosen):
        others = dependants[name]
        chosen |= {other for other in others if "default" in other or re.sub(r"-?[0-9.]+(?=-|$)", "", name) == other}
        chosen |= set(others[:DEPENDANTS])
    text = [
        "\n".join(f"{field}: {stanzas[name][field]}" for field in FIELDS if field in stanzas[name])
        for name in sorted(chosen & set(stanzas))
    ]
    content = "\n\n".join(text) + "\n"
    (target / "Packages.gz").write_bytes(gzip.compress(content.encode(), mtime=0))


if __name__ == "__main__":
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    cut_packages(source, cut_contents(source, set(NAMES.read_text().split()), target), target)
