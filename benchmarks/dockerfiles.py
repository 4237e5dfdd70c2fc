"""Read public Dockerfiles by the rules of `container check`: `python benchmarks/dockerfiles.py --mirrors DIR`.

`benchmarks/dockerfiles.tsv` names them, of Poetry and uv projects: owner/name, commit and path, at most three of one
repository. They are read from a
directory of bare repositories, OWNER+NAME (`--mirrors DIR`; `git clone --bare` makes one), and nothing of them is kept. Prints
a table by rule; with `--list` every finding with its line, with `--sample N` so many of them drawn with a fixed seed.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from colab_env.image import reading, rules, surroundings
from colab_env.image.rules import Finding
from colab_env.image.surroundings import Project

LIST = Path(__file__).with_suffix(".tsv")
SEED = 13
_MENTIONS = re.compile(r"\bpoetry\b|\buv (?:sync|pip|run|venv)\b|/uv[:@ ]")
_NAME = re.compile(r"(?i)(?:^|/)(?:Dockerfile|Containerfile)[^/]*$|\.dockerfile$")


@dataclass(frozen=True, kw_only=True)
class Source:
    name: str
    commit: str
    path: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirrors", type=Path, required=True, metavar="DIR", help="bare repositories, OWNER+NAME")
    parser.add_argument("--list", action="store_true", help="print every finding")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="print N findings, drawn")
    parser.add_argument("--draw", action="store_true", help="write the list anew from all mirrors, and end")
    arguments = parser.parse_args()
    if arguments.draw:
        LIST.write_text(
            "".join(f"{source.name}\t{source.commit}\t{source.path}\n" for source in drawn(arguments.mirrors))
        )
        return
    sources = [Source(name=name, commit=commit, path=path) for name, commit, path in listed()]
    all_findings = [
        (source, text, finding) for source in sources for text, finding in findings(source, arguments.mirrors)
    ]
    chosen = (
        all_findings
        if arguments.list
        else random.Random(SEED).sample(all_findings, min(arguments.sample, len(all_findings)))
    )
    for source, text, finding in chosen:
        line = text.splitlines()[finding.line - 1].strip()
        print(f"{source.name} {source.path}:{finding.line} {finding.rule}: {finding.text}\n    {line}")
    print(table(sources, all_findings))


def listed() -> list[list[str]]:
    return [line.split("\t") for line in LIST.read_text().splitlines()]


def table(sources: list[Source], all_findings: list[tuple[Source, str, Finding]]) -> str:
    counted = Counter(finding.rule for _, _, finding in all_findings)
    files = {
        rule: len({(source.name, source.path) for source, _, finding in all_findings if finding.rule == rule})
        for rule in counted
    }
    rows = [
        f"| {rule} | {counted[rule]} | {files.get(rule, 0)} |"
        for rule in sorted(rules.table(), key=lambda rule: -counted[rule])
    ]
    with_any = len({(source.name, source.path) for source, _, _ in all_findings})
    head = f"{len(sources)} Dockerfiles of {len({source.name for source in sources})} repositories; {with_any} have a finding\n"
    return "\n".join([head, "| rule | findings | files |", "|---|---|---|", *rows])


def findings(source: Source, mirrors: Path) -> list[tuple[str, Finding]]:
    text = content(source, source.path, mirrors)
    if text is None:
        print(f"not there: {source}")
        return []
    with tempfile.TemporaryDirectory() as scratch:  # what a rule asks of the project beside it
        for name in ("pyproject.toml", ".dockerignore"):
            above = [str(PurePosixPath(source.path).parent / name), name]
            texts = (content(source, path, mirrors) for path in above)
            beside = next((text for text in texts if text is not None), None)
            if beside is not None:
                (Path(scratch) / name).write_text(beside)
        try:
            project = surroundings.beside(Path(scratch), source.path)
        except Exception:  # noqa: BLE001  (a template's pyproject.toml is no TOML)
            project = Project()
    return [(text, finding) for finding, _ in rules.check(reading.read(text), project)]


def content(source: Source, path: str, mirrors: Path) -> str | None:
    repository = mirrors / source.name.replace("/", "+")
    git = ["git", "--git-dir", repository / "repo" if (repository / "repo").is_dir() else repository]
    done = subprocess.run([*git, "show", f"{source.commit}:{path}"], capture_output=True, check=False)
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def drawn(mirrors: Path) -> list[Source]:
    chosen = []
    for mirror in sorted(mirrors.iterdir()):
        git = ["git", "--git-dir", mirror / "repo" if (mirror / "repo").is_dir() else mirror]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
        names = subprocess.run(
            [*git, "ls-tree", "-r", "--name-only", "HEAD"], capture_output=True, text=True, check=False
        ).stdout
        if not re.search(r"(?m)(?:^|/)pyproject\.toml", names):
            continue
        of_one = []
        for path in filter(_NAME.search, names.splitlines()):
            source = Source(name=mirror.name.replace("+", "/"), commit=commit, path=path)
            text = content(source, path, mirrors) or ""
            if not path.endswith("ignore") and _MENTIONS.search(text) and reading.read(text).stages:
                of_one.append(source)
        chosen += of_one[:3]
    return chosen


if __name__ == "__main__":
    main()
