"""Time the trial of a kernel on the stand-in for Colab: `python benchmarks/trial.py`, with root.

The kernel is registered again and again; nearly all of that is its trial, and beside it the trial of Colab's features. *Processor*
is the time of all programs together, which other work on the machine does not change much. Prints a table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from boot_faults import colab, set_up  # type: ignore[import-not-found]  # noqa: E402

PROJECTS = {
    "no packages": (),
    "pandas, ipywidgets": ("pandas", "ipywidgets"),
    "all that Colab's features are about": (
        *("pandas", "ipywidgets", "matplotlib", "altair", "seaborn", "tqdm", "bokeh", "jinja2", "anywidget"),
    ),
}
_REGISTER = """
import json, resource, sys
import colab_env
from colab_env import _report
times = []
with _report.screen(_report.Silent()):
    for _ in range(%d):
        colab_env.remove_kernel("tried")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = colab_env.register_kernel("tried").seconds
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        times.append((seconds, used))
print(json.dumps(times))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", default="3.12")
    arguments = parser.parse_args()
    print("| the project has | median (s) | lowest | highest | processor (s) |\n|---|---:|---:|---:|---:|")
    for name, packages in PROJECTS.items():
        with colab() as root:
            root.path("/content/requirements.txt").write_text("\n".join(packages) + "\n")
            set_up(root, arguments.python, "--kernel", "tried")
            argv = ["/usr/bin/python3", "-c", _REGISTER % arguments.rounds]
            done = root.run(argv, env={"PYTHONPATH": str(ROOT)}, timeout=600)
            if done.returncode:
                raise SystemExit(done.stdout + done.stderr)
            seconds, used = zip(*json.loads(done.stdout.splitlines()[-1]), strict=True)
        middle, processor = statistics.median(seconds), statistics.median(used)
        print(f"| {name} | {middle:.1f} | {min(seconds):.1f} | {max(seconds):.1f} | {processor:.1f} |", flush=True)


if __name__ == "__main__":
    main()
