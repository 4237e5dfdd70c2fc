"""Break an environment in every way that is known, restart its session, and note how long no cell runs.

`python tests/boot_faults.py 3.12 3.13 --write` writes the table for these Pythons; test_guard.py asserts the same outcomes.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from colab_standin import (
    PYTHONS,
    ColabRoot,
    CrashError,
    Options,
    Page,
    PageError,
    Server,
    Share,
    real_google_colab,
    serving,
)

VERSIONS = Path("/root/.pyenv/versions")
SITE = "$(echo /content/.venv/lib/python3.*/site-packages)"
LAYER = "$(echo /root/.local/share/colab-env/layers/*/site)"
WHERE = "import sys; print(sys.executable)"
ENVIRONMENT, MACHINE_S_OWN = "/content/.venv/bin/python", "/usr/bin/python3"
_IMPORT = f"import sys; sys.path.append({str(ROOT)!r}); import colab_env; "
_PATIENCE = 180.0  # seconds
_CELL = 20.0  # seconds: to a kernel that was replaced, what asks longer stays without an answer
# Seconds: longer than the 30 that a start which hangs is given, for a page that lets go meanwhile is given its old channels again.
_CONNECTION = 60.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to break a kernel's environment: a shell script, or a cell that runs in the kernel."""

    name: str
    script: str = ""
    cell: str = ""
    says: str = ""
    """What the first cell must show; empty where the environment's kernel comes back."""
    lost: int = 0
    """Boots that are lost at most."""


def _module(name: str, source: str) -> str:
    return f"mkdir -p {SITE}/{name}; echo '{source}' > {SITE}/{name}/__init__.py"


DATA, PROFILE = "/root/.local/share/colab-env", "/root/.ipython/profile_default"
FAULTS = (
    Fault(name="interpreter gone", script="ln -sfn /nowhere/python /content/.venv/bin/python", says="No such file"),
    Fault(name="virtual environment deleted", script="rm -rf /content/.venv", says="No such file"),
    Fault(name="google.colab removed", script=f"rm -rf {LAYER}/google", says="google", lost=1),
    Fault(name="kernel layer removed", script=f"rm -rf {LAYER}/../*", says="launch.py", lost=1),
    Fault(name="`%pip install -U ipython`", cell="%pip install -q -U ipython"),
    Fault(
        name="IPython that fits no ipykernel (`%pip install ipython==5.10`)",
        cell="%pip install -q ipython==5.10",
        says="Error",
        lost=1,
    ),
    Fault(name="`sitecustomize` raises", script=f"echo 'raise RuntimeError(1)' > {SITE}/sitecustomize.py"),
    Fault(
        name="`sitecustomize` ends Python",
        script=f"echo 'raise SystemExit(\"no\")' > {SITE}/sitecustomize.py",
        says="before it answered",
        lost=1,
    ),
    Fault(
        name="segmentation fault at import",
        script=_module("tornado", "import ctypes; ctypes.string_at(0)"),
        says="Segmentation fault",
        lost=1,
    ),
    Fault(
        name="hang at import",
        script=_module("tornado", "import time; time.sleep(3600)"),
        says="did not answer within 30 seconds",
        lost=1,
    ),
    Fault(
        name="hang in `sitecustomize`",
        script=f"echo 'import time; time.sleep(3600)' > {SITE}/sitecustomize.py",
        says="did not answer within 30 seconds",
        lost=1,
    ),
    Fault(
        name="disk full",
        script="mkdir -p /dev/shm/colab-env-0; mount -t tmpfs -o size=4k none /dev/shm/colab-env-0;"
        " head -c 4096 /dev/zero > /dev/shm/colab-env-0/full",
    ),
    Fault(
        name="disk full, not one file more",
        script="mkdir -p /dev/shm/colab-env-0; mount -t tmpfs -o nr_inodes=1 none /dev/shm/colab-env-0",
    ),
    Fault(
        name="disk and memory full",
        script="for place in /dev/shm /tmp /var/tmp; do mount -t tmpfs -o nr_inodes=1 none $place; done",
        says="No space left",
    ),
    Fault(name="`/tmp` full", script="mount -t tmpfs -o nr_inodes=1 none /tmp"),
    Fault(
        name="data directory cannot be written",
        script=f"mount --bind {DATA} {DATA} && mount -o remount,ro,bind {DATA}",
    ),
    Fault(
        name="a startup file of the user's raises",
        script=f"mkdir -p {PROFILE}/startup; echo 'raise RuntimeError(1)' > {PROFILE}/startup/00-own.py",
    ),
    Fault(
        name="a configuration of the user's raises",
        script=f"mkdir -p {PROFILE}; echo 'raise RuntimeError(1)' > {PROFILE}/ipython_kernel_config.py",
    ),
    Fault(name="a `random.py` beside the notebook", script="echo 'raise RuntimeError(1)' > /content/random.py"),
    Fault(name="worked, then a segmentation fault in a cell", cell="import ctypes; ctypes.string_at(0)", lost=1),
    Fault(name="worked, then the out-of-memory killer", cell="import os; os.kill(os.getpid(), 9)", lost=1),
)
_REPAIR = f"""
rm -rf /content/random.py {PROFILE}/startup/00-own.py {PROFILE}/ipython_kernel_config.py
mountpoint -q {DATA} && umount {DATA}
"""
_REPAIR += """
mountpoint -q /dev/shm/colab-env-0 && umount /dev/shm/colab-env-0
for place in /dev/shm /tmp /var/tmp; do
    [ $(stat -f -c %c $place) -gt 9 ] || umount $place
done
rm -rf /content/.venv; cp -a /content/kept /content/.venv
for layer in /root/.local/share/colab-env/layers/*; do rm -rf $layer/*; cp -a /root/kept/${layer##*/}/. $layer; done
"""
_INTRODUCTION = (
    "# What a broken environment costs",
    "",
    "Each fault is injected into a running session that was switched to an environment's kernel; then the session is",
    "restarted (the last two faults end the kernel themselves). *Lost boots* are starts that the notebook server had to",
    "repeat; *seconds* pass until a cell runs again. Real notebook server, in the stand-in for Colab, two cores with other",
    "work going on. Written by `python tests/boot_faults.py 3.12 3.13 --write`; `tests/test_guard.py` asserts the same outcomes.",
    "",
)
# Kernels that a user has: two of other languages, one for this user and one for all, and one made by hand.
OWN_KERNELS = """
for place in /root/.local/share/jupyter/kernels/julia-1.11 /usr/local/share/jupyter/kernels/ir \\
    /root/.local/share/jupyter/kernels/mine; do
    mkdir -p $place; echo "{\\"argv\\": [\\"$place/run\\"], \\"display_name\\": \\"$place\\"}" > $place/kernel.json
    head -c 999 /dev/urandom > $place/logo-64x64.png
done
"""
KEPT = ("/content/kept", "/root/kept")
_KEEP = "cp -a /content/.venv /content/kept; cp -a /root/.local/share/colab-env/layers /root/kept"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a fault cost: boots lost, seconds until a cell ran again, that cell's error output and interpreter."""

    lost: int
    seconds: float
    shown: str
    interpreter: str


@dataclass(frozen=True, kw_only=True)
class PreparedMachine:
    """A stand-in for Colab with an environment set up, its server, and its kernel's name."""

    root: ColabRoot
    server: Server
    kernel: str


@contextlib.contextmanager
def machine(version: str, *, first: Callable[[ColabRoot], None] | None = None) -> Iterator[PreparedMachine]:
    """Set up the environment for a Python such as "3.12"; call `first` before anything is changed."""
    with colab() as root:
        if first is not None:
            first(root)
        set_up(root, version)
        assert root.run(["sh", "-c", _KEEP]).returncode == 0
        with serving(root) as server:
            yield PreparedMachine(root=root, server=server, kernel="py" + version.replace(".", ""))


@contextlib.contextmanager
def colab() -> Iterator[ColabRoot]:
    """Give a stand-in for Colab that has this project and other Pythons."""
    options = Options(
        google_colab=real_google_colab(), pythons=VERSIONS, shares=(Share(source=ROOT, target=str(ROOT)),)
    )
    with ColabRoot.build(options=options) as root:
        yield root


def set_up(root: ColabRoot, version: str, *options: str) -> str:
    """Run `colab-env setup` for a Python such as "3.12"; return what it printed."""
    python = f"{PYTHONS}/{max(VERSIONS.glob(f'{version}.*')).name}/bin/python"
    argv = ["/usr/bin/python3", "-m", "colab_env", "setup", "--interpreter", "system", "--python", python, *options]
    done = root.run(argv, env={"PYTHONPATH": str(ROOT)}, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ask_to_switch(page: Page, name: str | None, how: str | None = None) -> str:
    """Run the cell that switches; return what it showed."""
    cell = page.execute(f"{_IMPORT}colab_env.switch({name!r}, how={how!r})", timeout=_PATIENCE)
    assert not cell.error, cell.error
    time.sleep(1)  # the request follows the end of the cell
    return cell.stdout


def next_cell(page: Page, code: str = WHERE, *, on: str = "") -> tuple[float, str, str]:
    """Connect again as often as it takes, until a cell shows `on`; return the seconds, its output and its error output."""
    began = time.monotonic()
    while time.monotonic() - began < _PATIENCE:
        try:
            page.session = page.api("GET", f"sessions/{page.session['id']}")
            page.connect(timeout=_CONNECTION)
            cell = page.execute(code, timeout=_CELL)
        except CrashError:
            continue
        except PageError:
            time.sleep(0.1)
            continue
        if on in cell.stdout:
            return time.monotonic() - began, cell.stdout.strip(), cell.stderr
        time.sleep(0.1)
    msg = f"no cell runs {on and 'on ' + on} any more"
    raise AssertionError(msg)


def inject(machine: PreparedMachine, page: Page, fault: Fault) -> Outcome:
    """Break the environment of a page on its kernel, restart the session unless that broke it, and wait for a cell."""
    before = restarts(machine)
    crashed = False
    if fault.script:
        machine.root.run(["sh", "-ec", fault.script])
    try:
        page.execute(fault.cell, timeout=_PATIENCE)
    except CrashError:
        crashed = True
    began = time.monotonic()
    if not crashed:
        page.api("POST", f"kernels/{page.kernel_id}/restart")
    _, interpreter, shown = next_cell(page)
    return Outcome(
        lost=restarts(machine) - before, seconds=time.monotonic() - began, shown=shown, interpreter=interpreter
    )


def repair(machine: PreparedMachine) -> None:
    """Put the environment back."""
    done = machine.root.run(["sh", "-c", _REPAIR])
    assert done.returncode == 0, done.stderr


def restarts(machine: PreparedMachine) -> int:
    return machine.server.log.read_text(errors="replace").count("KernelRestarter: restarting kernel")


def outcomes(version: str) -> Iterator[tuple[Fault, Outcome]]:
    """Inject every fault, each on a fresh page that was switched by a restart."""
    with machine(version) as prepared:
        for fault in FAULTS:
            with Page(prepared.server.url) as page:
                page.open()
                ask_to_switch(page, prepared.kernel)
                next_cell(page, on=ENVIRONMENT)
                yield fault, inject(prepared, page, fault)
            repair(prepared)
            prepared.root.run(["/usr/bin/python3", "-m", "colab_env", "switch"], env={"PYTHONPATH": str(ROOT)})


def table(versions: Sequence[str], found: Sequence[Sequence[tuple[Fault, Outcome]]]) -> list[str]:
    """Return the lines of a table with a row for each fault and two columns for each Python."""
    head = [f"{what}, {version}" for version in versions for what in ("lost boots", "seconds")]
    lines = [f"| fault | {' | '.join(head)} | kernel then |", f"|---|{'---:|' * len(head)}---|"]
    for row in zip(*found, strict=True):
        cells = [cell for _, each in row for cell in (str(each.lost), f"{each.seconds:.1f}")]
        then = {"environment" if each.interpreter.startswith("/content/.venv") else "machine's own" for _, each in row}
        lines.append(f"| {row[0][0].name} | {' | '.join(cells)} | {', '.join(sorted(then))} |")
    return lines


def with_table(text: str, lines: Sequence[str]) -> str:
    """Return the page's text with these lines between its two marks."""
    before, begin, rest = text.partition("<!-- faults -->\n")
    _, end, after = rest.partition("<!-- end of faults -->")
    return before + begin + "\n".join(lines) + "\n" + end + after


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("versions", nargs="+")
    parser.add_argument("--write", action="store_true", help="to docs/faults.md and docs/switching.md")
    arguments = parser.parse_args()
    found = []
    for version in arguments.versions:
        found.append([])
        for fault, outcome in outcomes(version):
            print(version, fault.name, outcome, flush=True)
            found[-1].append((fault, outcome))
    lines = table(arguments.versions, found)
    if arguments.write:
        page = ROOT / "docs/faults.md"
        others = "".join(page.read_text(encoding="utf-8").partition("\n## ")[1:])
        page.write_text("\n".join([*_INTRODUCTION, *lines]) + "\n" + others, encoding="utf-8")
        page = ROOT / "docs/switching.md"
        page.write_text(with_table(page.read_text(encoding="utf-8"), lines), encoding="utf-8")


if __name__ == "__main__":
    main()
