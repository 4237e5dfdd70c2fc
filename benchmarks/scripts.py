"""Compare what `colab-env run --script` installs with what `uv run --script` does: `python benchmarks/scripts.py DIRECTORY`.

The directory holds scripts with a block of PEP 723, such as public ones; what stands below their blocks is not run. Both tools
get the same script and the same Python. A script counts as the same where both install the same versions of the same packages from
the same addresses, or where both refuse it: then the reason is printed. The exit code is 1 where anything differs. Needs uv and a
package index.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from colab_env import uv  # noqa: E402
from colab_env.errors import ColabEnvError  # noqa: E402
from colab_env.locks import script_block  # noqa: E402
from colab_env.machine import Machine  # noqa: E402

FREEZE = "import sys; print(sys.executable)\n"
# What is compiled says nothing of what was chosen, and takes most of the time.
RUN = """\
import sys
from colab_env import envs
from colab_env.named_env import bytecode
bytecode.fill = lambda directory, survey, **_: survey
envs.run_script(sys.argv[1])
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    program, counted = uv.ensure(Machine.detect()), Counter[str]()
    with tempfile.TemporaryDirectory() as scratch:
        cache = subprocess.run([program, "cache", "dir"], check=True, capture_output=True, text=True).stdout.strip()
        os.environ |= {"COLAB_ENV_BASE": f"{scratch}/envs", "COLAB_ENV_HOME": f"{scratch}/home", "UV_CACHE_DIR": cache}
        os.environ["PYTHONPATH"] = str(ROOT)
        for path in sorted(directory.glob("*.py"), key=lambda path: path.stat().st_size):
            try:
                block = script_block.block(path)
            except ColabEnvError:
                continue  # no script of this kind
            script = Path(scratch, "scripts", path.name)
            script.parent.mkdir(exist_ok=True)
            script.write_text(block + FREEZE)
            verdict, reason = compared(script, program=program)
            counted[verdict] += 1
            print(f"{'✗' if verdict == 'differs' else '✓'} {path.name}: {verdict}{reason}", flush=True)
            shutil.rmtree(f"{scratch}/envs", ignore_errors=True)
    print(", ".join(f"{number} {verdict}" for verdict, number in counted.most_common()))
    return int(counted["differs"] > 0)


def compared(script: Path, *, program: Path) -> tuple[str, str]:
    """Return whether both tools agree about a script, and what there is to say of it."""
    ours = run([sys.executable, "-c", RUN, script])
    python = ["--python", ours.stdout.strip()] if ours.returncode == 0 else []
    base = run([*python[1:], "-c", "import sys; print(sys._base_executable)"]).stdout.strip() if python else ""
    theirs = run([program, "run", "--no-project", *(["--python", base] if base else []), "--script", script])
    if ours.returncode and theirs.returncode:
        return "refused by both", f": {next(line for line in reversed(ours.stderr.splitlines()) if 'rror: ' in line)}"
    if ours.returncode or theirs.returncode:
        return "differs", f"\n{ours.stderr}{theirs.stderr}"
    one, other = (packages(program, done.stdout.strip()) for done in (ours, theirs))
    if one == other:
        return "the same", f", {len(one)} packages"
    return "differs", f": only here {sorted(one - other)}, only with uv {sorted(other - one)}"


def packages(program: Path, python: str) -> set[str]:
    return set(run([program, "pip", "freeze", "--python", python]).stdout.splitlines())


def run(words: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
