"""`python -m tests.faults.conda`: kill, end and stop conda's installation in a directory that the machine uses.

Each trial meets another moment of `install_miniconda` or of the packages' installation: while the originals are saved,
while the installer or conda works, while what they made is moved in. Meanwhile the machine's commands are looked at in
a loop; then what is left is taken back, the same command runs again, and `undo` must give every file back. With
`--real DIR` (see `tests.real_conda`) conda is a real one; otherwise it is the stand-in, with a package of many files.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conda_standin import builder
from tests.conda_standin.server import Server
from tests.faults.world import differences

ROOT = Path(__file__).parents[2]
_PAGE = ROOT / "docs/faults.md"
_HEADING = "## Conda in a directory that the machine uses"
HOWS = {
    "killed": signal.SIGKILL,
    "killed with conda": signal.SIGKILL,
    "terminated": signal.SIGTERM,
    "stopped": signal.SIGINT,
}
_COMMANDS = ("pip", "pip3", "ipython", "ipython3", "jupyter", "jupyter-lab", "f2py")  # the machine's
PHASES = ("saving", "conda at work", "moving in")
_INSTALL = """\
source = conda.Source(installer={url!r}, sha256={sha256!r})
with changing("install_miniconda", machine):
    conda.install(source, prefix=prefix, machine=machine)
"""
_PACKAGES = """\
with changing("install_colab_packages", machine):
    conda.install_packages(prefix, {packages!r}, machine=machine)
"""
_RECOVER = """\
with changing("install_colab_packages", machine):
    began = time.monotonic()
    conda.recover(prefix, machine)
    print(time.monotonic() - began)
"""
_UNDO = """\
with changing("undo", machine):
    _overlay_undo.undo(prefix, saved=conda.saved_directory(prefix, machine))
"""
_HEAD = """\
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores for what is in the background
sys.path.insert(0, {root!r})
from pathlib import Path
from colab_env.machine import Machine
from colab_env.miniconda import _overlay_undo, conda
from colab_env.step import changing
prefix, machine = Path({prefix!r}), Machine.detect()
"""


@dataclass(kw_only=True)
class Bench:
    """A directory like /usr/local with the machine's commands, and an installer with a channel."""

    root: Path
    url: str
    sha256: str
    packages: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def prefix(self) -> Path:
        return self.root / "usr/local"

    def make(self) -> None:
        """Fill the directory: commands, libraries, settings, as many files as conda brings."""
        python = self.root / "usr/bin/python3"
        for name in _COMMANDS:
            _write(self.prefix / "bin" / name, f"#!{python}\nprint({name!r})\n", mode=0o755)
        _write(python, f'#!/bin/sh\nexec {sys.executable} "$@"\n', mode=0o755)
        (self.prefix / "bin/python").symlink_to(python)
        (self.prefix / "man").symlink_to("share/man")
        for number in range(4000):
            _write(self.prefix / f"lib/node_modules/m{number // 100}/f{number}.js", str(number))
        for number in range(500):
            _write(self.prefix / f"share/doc/d{number}", str(number))
            _write(self.prefix / f"lib/libmachine{number}.so", str(number) * 1000)
        _write(self.prefix / "share/jupyter/kernels/python3/kernel.json", "{}")
        _write(self.prefix / "lib/python3.12/dist-packages/pandas.py", "version = 2\n")

    def start(self, code: str) -> subprocess.Popen[str]:
        """Run a piece of code in a process of its own, as a notebook's kernel would."""
        home = self.root / "home"
        home.mkdir(exist_ok=True)
        environ = {"HOME": str(home), "PATH": f"{self.prefix}/bin:{self.root}/usr/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
        head = _HEAD.format(root=str(ROOT), prefix=str(self.prefix))
        return subprocess.Popen(
            [sys.executable, "-c", head + code],
            env={**environ, **self.variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, code: str) -> str:
        """Run it to its end; return the last line that it prints. Raises RuntimeError with all of them."""
        process = self.start(code)
        output, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(output)
        return (output.splitlines() or [""])[-1]

    def code(self, command: str) -> str:
        return command.format(url=self.url, sha256=self.sha256, packages=self.packages)

    def tree(self) -> dict[str, str]:
        """Return every path of the machine, with all that counts of it; not what conda downloaded."""
        found: dict[str, str] = {}
        for directory, names, files in os.walk(self.root / "usr"):
            for name in (*names, *files):
                path = Path(directory, name)
                status = path.lstat()
                link = str(path.readlink()) if path.is_symlink() else ""
                seen = f"{status.st_mode:o} {link}"
                if not path.is_dir() and not link:
                    seen += f" {status.st_size} {status.st_mtime_ns}"
                found[str(path.relative_to(self.root))] = seen
        return found

    def load(self, state: Path) -> None:
        """Make the directory, and what colab-env knows of it, what it was when `state` was kept."""
        for name in ("usr", "home"):
            shutil.rmtree(self.root / name, ignore_errors=True)
            if (state / name).exists():
                subprocess.run(["cp", "-a", state / name, self.root / name], check=True)

    def save(self, state: Path) -> None:
        state.mkdir(parents=True)
        for name in ("usr", "home"):
            if (self.root / name).exists():
                subprocess.run(["cp", "-a", self.root / name, state / name], check=True)


class Watcher:
    """Looks in a loop whether the machine's commands are still its own; `wrong` are the seconds in which they were not."""

    def __init__(self, bench: Bench) -> None:
        directories = [bench.prefix / "bin", bench.root / "usr/bin"]
        commands = {*_COMMANDS, "python", "python3"}
        self._paths = {name: [directory / name for directory in directories] for name in commands}
        self._right = {name: self._seen(name) for name in commands}
        self._last = time.monotonic()
        self.wrong = 0.0
        self.names: set[str] = set()

    def look(self) -> None:
        """Look once; what is wrong now was wrong since the last look."""
        now = time.monotonic()
        names = {name for name, right in self._right.items() if self._seen(name) != right}
        if names:
            self.wrong += now - self._last
            self.names |= names
        self._last = now

    def _seen(self, name: str) -> object:
        for path in self._paths[name]:
            try:
                found = path.stat()
            except OSError:
                continue
            return path, found.st_size, found.st_mtime_ns
        return None


@dataclass(kw_only=True)
class Verdict:
    """What became of one trial."""

    command: str
    phase: str
    how: str
    recovery: float = 0.0
    wrong: float = 0.0
    problems: list[str] = field(default_factory=list)


def main() -> int:
    """Try the points and say what did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.conda")
    parser.add_argument("--real", type=Path, metavar="DIR", help="what tests.real_conda made; default: the stand-in")
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--files", type=int, default=16_000, help="in the stand-in's package of many files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write the table to docs/faults.md")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="faults-conda-"))
    try:
        with Server(directory / "www") as server:
            bench = _bench(directory, server, arguments)
            verdicts = list(_trials(bench, directory / "states", arguments))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    page = _table(verdicts, real=arguments.real is not None)
    print(page)
    if arguments.write:
        before, _, after = _PAGE.read_text(encoding="utf-8").partition(_HEADING)
        others = after[after.find("\n## ") :] if "\n## " in after else ""  # sections that another command writes
        _PAGE.write_text(f"{before.rstrip()}\n\n{page}{others}", encoding="utf-8")
    return 1 if any(verdict.problems for verdict in verdicts) else 0


def _bench(directory: Path, server: Server, arguments: argparse.Namespace) -> Bench:
    site = directory / "www"
    if arguments.real:
        made = arguments.real.resolve()
        site.mkdir()
        said = json.loads((made / "real_conda.json").read_text())
        (site / said["installer"]).symlink_to(made / said["installer"])
        alias = {"CONDA_CHANNEL_ALIAS": (made / "channels").as_uri()}
        name, sha256, packages = said["installer"], said["sha256"], ("jupyter", "google-colab")
    else:
        channel = builder.build_channel(directory / "channel", short="3.12", many=arguments.files)
        built = builder.build_installer(site, channel=channel, python=builder.find_python("3.12"))
        name, sha256, packages, alias = built.name, built.sha256, ("jupyter", "many"), {}
    bench = Bench(root=directory / "m", url=f"{server.url}/{name}", sha256=sha256, packages=packages, variables=alias)
    bench.make()
    return bench


def _trials(bench: Bench, states: Path, arguments: argparse.Namespace) -> Iterator[Verdict]:
    pristine = bench.tree()
    bench.save(states / "0")
    commands = {"install_miniconda": (_INSTALL, states / "0"), "install_colab_packages": (_PACKAGES, states / "1")}
    spans: dict[str, dict[str, float]] = {}
    for name, (command, _) in commands.items():  # undisturbed, once
        watcher = Watcher(bench)
        spans[name], output = _follow(bench, bench.start(bench.code(command)), watcher)
        if watcher.wrong:
            yield Verdict(
                command=name, phase="undisturbed", how="-", wrong=watcher.wrong, problems=[str(watcher.names)]
            )
        if output:
            raise RuntimeError(output)
        bench.save(states / str(len(spans)))
        print(f"{name}: {len(bench.tree()):,} paths, {spans[name]}", flush=True)
    random_ = random.Random(arguments.seed)
    grid = [(name, phase, how) for phase in PHASES for how in HOWS for name in commands]
    if arguments.points < len(grid):
        grid = random_.sample(grid, arguments.points)
    for number in range(arguments.points):
        name, phase, how = grid[number % len(grid)]
        command, state = commands[name]
        verdict = Verdict(command=name, phase=phase, how=how)
        delay = random_.random() * spans[name][phase]
        while not _is_struck(bench, state, bench.code(command), verdict, delay=delay):
            delay /= 2  # it had ended by then
        _undo_and_compare(bench, bench.code(command), verdict, pristine=pristine)
        print(f"{number + 1}: {verdict}", flush=True)
        yield verdict


def _is_struck(bench: Bench, state: Path, code: str, verdict: Verdict, *, delay: float) -> bool:
    """Interrupt the command; say whether it was still running."""
    bench.load(state)
    watcher = Watcher(bench)
    process = bench.start(code)
    _follow(bench, process, watcher, until=(verdict.phase, delay), how=verdict.how)
    watcher.look()
    verdict.wrong = watcher.wrong
    if watcher.wrong:
        verdict.problems.append(f"not the machine's: {', '.join(sorted(watcher.names))}")
    return process.returncode != 0


def _undo_and_compare(bench: Bench, code: str, verdict: Verdict, *, pristine: dict[str, str]) -> None:
    try:
        began = time.monotonic()
        bench.run(_RECOVER)
        verdict.recovery = time.monotonic() - began
        bench.run(code)
        bench.run(_UNDO)
    except RuntimeError as error:
        verdict.problems.append(str(error).strip().splitlines()[-1])
    lines = differences(pristine, bench.tree())
    verdict.problems += [f"tree: {', '.join(lines[:5])} and {len(lines) - 5} more"] if lines else []


def _follow(
    bench: Bench,
    process: subprocess.Popen[str],
    watcher: Watcher,
    *,
    until: tuple[str, float] | None = None,
    how: str = "",
) -> tuple[dict[str, float], str]:
    """Look on until a process ends, or until a moment of a phase, when it is ended; return the phases' seconds."""
    spans, phase, began = dict.fromkeys(PHASES, 0.0), PHASES[0], time.monotonic()
    stage = bench.prefix.parent
    names = {path.name for path in (bench.prefix / "bin").iterdir()} | {"colab-env-unfinished"}
    while process.poll() is None:
        watcher.look()
        now = time.monotonic()
        if until and phase == until[0] and now - began >= until[1]:
            _end(process, how)
            until = None
        is_staged = any(path.name.startswith(".") for path in stage.iterdir())
        is_moving = bool({path.name for path in (bench.prefix / "bin").iterdir()} - names) if is_staged else False
        reached = PHASES[2] if is_moving or phase == PHASES[2] else PHASES[1] if is_staged else phase
        if reached != phase:
            spans[phase], phase, began = now - began, reached, now
        time.sleep(0.0005)
    spans[phase] = time.monotonic() - began
    watcher.look()
    output = process.communicate()[0]
    return spans, output if process.returncode and not how else ""


def _end(process: subprocess.Popen[str], how: str) -> None:
    if how == "killed with conda":
        for pid in _descendants(process.pid):
            os.kill(pid, signal.SIGKILL)
    process.send_signal(HOWS[how])


def _descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *_descendants(int(child))]
    return found


def _table(verdicts: Sequence[Verdict], *, real: bool) -> str:
    command = " ".join(["python -m tests.faults.conda", *sys.argv[1:]]).replace(" --write", "")
    if "TMPDIR" in os.environ:
        command = f"TMPDIR={os.environ['TMPDIR']} {command}"
    lines = [
        _HEADING,
        "",
        f"Conda ({'a real one, 26.5.3' if real else 'the stand-in'}) is interrupted over a directory that the machine uses; then",
        "what is left is taken back (*recovery*: the whole program), the same command runs again, and `undo` takes all back.",
        "*Recovered* are trials after which the command works and every file is as it was before. *Wrong* is how long one of",
        "the machine's commands (`pip`, `python3`, `ipython`, `jupyter` …) was not its own, looked at in a loop all the while.",
        "The tree has about 40,000 paths in the end. Recovery has to delete what came: on a disk that takes as long as `rm -r`.",
        "",
        "| command | phase | how | recovered | worst recovery, seconds | wrong, ms |",
        "|---|---|---|---:|---:|---:|",
    ]
    keys = dict.fromkeys((verdict.command, verdict.phase, verdict.how) for verdict in verdicts)
    for key in keys:
        own = [each for each in verdicts if (each.command, each.phase, each.how) == key]
        good = sum(not each.problems for each in own)
        worst, wrong = max(each.recovery for each in own), max(each.wrong for each in own)
        lines.append(f"| {' | '.join(key)} | {good} of {len(own)} | {worst:.1f} | {wrong * 1000:.0f} |")
    good = sum(not each.problems for each in verdicts)
    worst = max((each.recovery for each in verdicts), default=0)
    today = time.strftime("%Y-%m-%d")
    total = (
        f"{good} of {len(verdicts)} recovered, the worst in {worst:.1f} s ({today}; wanted: 50 of 50, 10 s, 0 ms)."
        f" Written by `{command}`."
    )
    return "\n".join([*lines, "", total, *(f"- {each}" for each in verdicts if each.problems), ""])


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    os.utime(path, ns=(1_600_000_000_123_456_789,) * 2)


if __name__ == "__main__":
    sys.exit(main())
