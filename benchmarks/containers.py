"""Build images of two real projects without an engine, and say what each change costs: `python benchmarks/containers.py BASE`.

BASE is a base image with Python 3.12 as `--base` takes it, such as oci:DIR. For a small command-line app and the science lock
of this directory: a build with nothing there, the same again, after a source change, after one package of the lock has
changed, and from another directory with nothing there, whose image has to be the same. Prints a Markdown table: seconds by
the clock, seconds of processor time (which a busy machine does not change), memory of the largest process, new bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from colab_env import container, uv  # noqa: E402
from colab_env.image import project as image_project  # noqa: E402
from colab_env.machine import Machine  # noqa: E402

_APP = """\
[project]
name = "small-app"
version = "0.1.0"
requires-python = ">=3.10"
dependencies = ["click", "requests", "rich", "pyyaml"]
[project.scripts]
small-app = "small_app:main"
[build-system]
requires = ["uv_build>=0.8"]
build-backend = "uv_build"
"""
_CHANGED = "urllib3<2.6"  # both locks have a newer one


@dataclass(frozen=True, kw_only=True)
class Run:
    """One build: seconds by the clock and of the processor, kilobytes, and what the command says in JSON."""

    seconds: float
    processor: float
    memory: int
    result: dict[str, object]

    def row(self, what: str) -> str:
        layers = self.result["layers"]
        assert isinstance(layers, list)
        new = sum(layer["size"] for layer in layers if layer["is_new"])
        count = sum(1 for layer in layers if layer["is_new"])
        cells = (
            f"{self.seconds:.1f}",
            f"{self.processor:.1f}",
            f"{self.memory / 1024:.0f}",
            f"{new / 1e6:.2f}",
            str(count),
        )
        return f"| {what} | {' | '.join(cells)} | {str(self.result['image'])[7:19]} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="the base image, with Python 3.12")
    parser.add_argument("--only", choices=("small", "science"), help="one project alone")
    arguments = parser.parse_args()
    print(
        f"{time.strftime('%Y-%m-%d')}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.0f}, {platform.system()}"
    )
    print("\n| | s | processor, s | MB of memory | new MB | new layers | image |\n|---|---|---|---|---|---|---|")
    for name in (arguments.only,) if arguments.only else ("small", "science"):
        with tempfile.TemporaryDirectory() as scratch:
            measure(name, arguments.base, Path(scratch))


def measure(name: str, base: str, scratch: Path) -> None:
    project, data = scratch / "one" / name, scratch / "data"
    (small if name == "small" else science)(project)

    def build(directory: Path, home: Path) -> Run:
        return run(directory, base, home, scratch / "img.tar")

    print(build(project, data).row(f"{name}: nothing there"), flush=True)
    print(build(project, data).row("the same again"), flush=True)
    if name == "small":
        (project / "src/small_app/__init__.py").write_text("def main():\n    print('changed')\n")
        print(build(project, data).row("after a source change"), flush=True)
    change(project / "requirements.txt")
    changed = build(project, data)
    print(changed.row(f"after one package has changed ({_CHANGED})"), flush=True)
    other = scratch / "another directory" / name
    shutil.copytree(project, other)
    again = build(other, scratch / "other data")
    is_same = "the same image" if again.result["digest"] == changed.result["digest"] else "ANOTHER IMAGE"
    print(again.row(f"from another directory, nothing there: {is_same}"), flush=True)


def small(project: Path) -> None:
    (project / "src/small_app").mkdir(parents=True)
    (project / "pyproject.toml").write_text(_APP)
    (project / "src/small_app/__init__.py").write_text("def main():\n    print('hello')\n")
    options = ["--universal", "--generate-hashes", "--python-version", "3.12", "-o", project / "requirements.txt"]
    run_uv("pip", "compile", "--quiet", *options, project / "pyproject.toml")


def science(project: Path) -> None:
    shutil.copytree(ROOT / "benchmarks/locks/science", project)
    request = container.read_request(project, Machine.detect())
    (project / "requirements.txt").write_text(image_project.read(request).packages.hashed)


def change(requirements: Path) -> None:
    """Put another version of one package into a lock."""
    name = re.split("[<>=]", _CHANGED)[0]
    request = requirements.with_name("changed.in")
    request.write_text(_CHANGED)
    line = run_uv(
        "pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate", "--generate-hashes", request
    )
    request.unlink()
    pattern = rf"(?m)^{name}==.*(?:\\\n.*)*"
    text, count = re.subn(pattern, lambda _: line.strip(), requirements.read_text())
    assert count == 1
    requirements.write_text(text)


def run_uv(*words: str | Path) -> str:
    return subprocess.run([uv.ensure(Machine.detect()), *words], check=True, capture_output=True, text=True).stdout


def run(project: Path, base: str, data: Path, output: Path) -> Run:
    words = ["container", "build", "--json", "--project", project, "--lock", "requirements.txt", "--base", base]
    environ = {**os.environ, "COLAB_ENV_HOME": str(data)}
    began, report = time.monotonic(), output.with_suffix(".json")
    with report.open("w") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "colab_env", *words, "-o", output], stdout=out, env=environ, cwd=ROOT
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, report.read_text()
    seconds = time.monotonic() - began
    processor = usage.ru_utime + usage.ru_stime
    return Run(seconds=seconds, processor=processor, memory=usage.ru_maxrss, result=json.loads(report.read_text()))


if __name__ == "__main__":
    main()
