"""Named environments on a whole Debian, with a real dpkg and systemd: `python benchmarks/env_machine.py [PART...]`, as root.

`upgrades`: a package that has an environment is upgraded 100 times while its service answers requests, programs start, and another
account sits in its directory. `python`: the distribution's Python is exchanged by a package under 50 environments, and nobody types
anything. `rights`: {root, a user, DynamicUser} make environments with {umask 022, 077} on {the system's, uv's} Python;
everybody who may runs them. The machine is an overlay over this one, and goes; a newer Python than the distribution's has to
be here. The exit code is 1 when anything failed.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import systemd_machine  # noqa: E402
import test_env_debian as debian  # noqa: E402
from small_wheels import write_wheel  # noqa: E402
from systemd_machine import SystemdMachine  # noqa: E402

from colab_env import system, uv  # noqa: E402
from colab_env.machine import Machine  # noqa: E402

PORT = 8110
SERVICE = f"""
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        import demo, json  # after an upgrade, too
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(demo.version).encode())
    def log_message(self, *_):
        pass
def main():
    if sys.argv[1:] == ["serve"]:
        ThreadingHTTPServer(("127.0.0.1", {PORT}), Answer).serve_forever()
    print(version)
"""
# Runs a shell line as an account that systemd invents, with a home of its own, and prints what it printed.
DYNAMIC_USER = """\
#!/bin/sh
printf '%s\\n' "$1" > /run/dynamic.sh
cat > /run/systemd/system/dynamic.service << END
[Service]
Type=oneshot
DynamicUser=yes
StateDirectory=dynamic
WorkingDirectory=/var/lib/dynamic
Environment=HOME=/var/lib/dynamic
ExecStart=sh /run/dynamic.sh
StandardOutput=truncate:/run/dynamic.log
StandardError=append:/run/dynamic.log
END
systemctl daemon-reload
systemctl start dynamic
code=$?
cat /run/dynamic.log
exit $code
"""
UV_PYTHON = "cpython-{}-linux-x86_64-gnu"  # the directory that uv gives a Python
TRACEBACK = "Traceback (most recent call last)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="upgrades, python, rights (default: all)")
    parser.add_argument("--upgrades", type=int, default=100)
    parser.add_argument("--environments", type=int, default=50)
    arguments = parser.parse_args()
    if reason := systemd_machine.reason_to_skip():
        print(f"skipped: {reason}")
        return 0
    parts: dict[str, Callable[[SystemdMachine, Path], int]] = {
        "upgrades": lambda machine, scratch: upgrades(machine, scratch, arguments.upgrades),
        "python": lambda machine, scratch: next_python(machine, scratch, arguments.environments),
        "rights": rights,
    }
    faults = 0
    for part in arguments.parts or parts:
        # What the overlay lies over is seen inside, this directory too.
        with tempfile.TemporaryDirectory() as scratch, systemd_machine.started({}) as machine:
            Path(scratch).chmod(0o755)
            machine("dpkg", "--install", debian.build_colab_env(Path(scratch)))
            faults += parts[part](machine, Path(scratch))
    return int(faults > 0)


def upgrades(machine: SystemdMachine, scratch: Path, count: int) -> int:
    """Upgrade a package under load; return how many scripts, requests and starts failed."""
    name, codes, answers, is_over = debian.NAME, list[int](), list[bool](), threading.Event()
    machine("dpkg", "--install", demo_package(scratch, "1.0"))
    machine("colab-env", "unit", "--output", "/etc/systemd/system", name, "demo", "serve")
    machine("systemctl", "daemon-reload")
    machine("systemctl", "start", f"{name}-demo")
    pid = machine("systemctl", "show", "--property=MainPID", f"{name}-demo").stdout
    stranger = f"cd {debian.ENVIRONMENTS}/{name} && exec setpriv --reuid=65534 --regid=65534 --clear-groups sleep 36000"
    machine("systemd-run", "--unit=stranger", "sh", "-c", stranger)
    while not answered():
        time.sleep(0.1)

    def load() -> None:
        while not is_over.is_set():
            answers.append(answered())

    def start() -> None:
        while not is_over.is_set():
            codes.append(machine("colab-env", "run", name, "demo", check=False).returncode)

    threads = [threading.Thread(target=task) for task in (load, start)]
    for thread in threads:
        thread.start()
    failed, began = 0, time.monotonic()
    try:
        for version in range(2, count + 2):
            package = demo_package(scratch, f"{version}.0")
            failed += machine("dpkg", "--install", package, check=False).returncode != 0
            package.unlink()
        seconds = time.monotonic() - began
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    is_same = machine("systemctl", "show", "--property=MainPID", f"{name}-demo").stdout == pid
    machine("systemctl", "restart", f"{name}-demo")
    newest = machine("colab-env", "run", name, "demo").stdout.strip()
    print(
        f"{count} upgrades by dpkg in {seconds:.0f} s: {failed} maintainer scripts failed, {answers.count(False)} of "
        f"{len(answers)} requests, {sum(map(bool, codes))} of {len(codes)} starts; the service "
        f"{'ran through' if is_same else 'WAS STOPPED'}; now {newest}"
    )
    return failed + answers.count(False) + sum(map(bool, codes)) + (not is_same) + (newest != f"{count + 1}.0")


def demo_package(scratch: Path, version: str) -> Path:
    tree = scratch / version
    write_wheel(tree / f"usr/share/{debian.NAME}/wheels", "demo", version, code=SERVICE, programs=["demo"])
    debian.write(tree / "DEBIAN/postinst", debian.POSTINST, mode=0o755)
    debian.write(tree / "DEBIAN/prerm", debian.PRERM, mode=0o755)
    return debian.build(tree, debian.NAME, version, depends="colab-env")


def answered() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}", timeout=30) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def next_python(machine: SystemdMachine, scratch: Path, count: int) -> int:
    """Exchange the distribution's Python under environments; return how many of them do not run then."""
    old = Path("/usr/bin/python3").resolve().name.removeprefix("python3.")
    newer = [python for python in pythons() if int(python.short_version.removeprefix("3.")) > int(old)]
    if not newer:
        print(f"skipped: there is no Python here that is newer than the distribution's 3.{old}")
        return 0
    minor = newer[0].short_version.removeprefix("3.")
    write_wheel(scratch / "wheels", "demo", "1.0", code=debian.DEMO, programs=["demo"])
    names = [f"e{number}" for number in range(count)]
    for name in names:
        machine("colab-env", "env", "create", name, "--wheels", scratch / "wheels", "demo", "--quiet")
    tree = scratch / "next"
    (tree / "usr/bin").mkdir(parents=True)
    subprocess.run(["cp", newer[0].path.resolve(), tree / f"usr/bin/python3.{minor}"], check=True)
    debian.write(tree / "DEBIAN/postinst", debian.NEXT_PYTHON.format(minor=minor, old=old), mode=0o755)
    package, began = debian.build(tree, "the-next-python", "1.0", depends="colab-env"), time.monotonic()
    printed = machine("dpkg", "--install", package).stdout
    seconds = time.monotonic() - began
    run = [machine("colab-env", "run", name, "demo", check=False).stdout == "1.0\n" for name in names]
    version = machine("colab-env", "run", names[0], "python", "-V", check=False).stdout.strip()
    print(
        f"Python 3.{old} exchanged for 3.{minor}: {sum(run)} of {count} environments run, on {version}, after {seconds:.0f} s"
    )
    if not all(run):
        print(printed)
    return run.count(False)


def pythons() -> list[system.Interpreter]:
    return system.available(machine=Machine.detect())


def rights(machine: SystemdMachine, scratch: Path) -> int:
    """Make and run environments as each kind of account; return how many cells had a traceback, or did not run."""
    system_python = machine("/usr/bin/python3", "-c", "import sys; print(sys.version.split()[0])").stdout.strip()
    other = next(python for python in pythons() if python.version != system_python)
    machine("useradd", "--create-home", "worker")
    write_wheel(scratch / "wheels", "demo", "1.0", code=debian.DEMO, programs=["demo"])
    if (program := uv.find(Machine.detect())) is not None:
        machine("install", "-m", "755", program, "/usr/bin/uv")
    # Where everybody may read it: DynamicUser has a /tmp of its own, and this Python may be in root's home.
    machine("cp", "-r", scratch / "wheels", "/srv/wheels")
    machine("cp", "-r", other.path.resolve().parents[1], "/srv/python")
    # uv's Pythons need no library of their own; this one may, and names it by where it was built.
    machine("sh", "-c", "cp /srv/python/lib/libpython*.so* /usr/local/lib && ldconfig", check=False)
    debian.write(scratch / "dynamic", DYNAMIC_USER, mode=0o755)
    machine("cp", scratch / "dynamic", "/usr/bin/dynamic")
    accounts: dict[str, tuple[list[str], str]] = {  # how to become it, and where uv puts its Pythons
        "root": (["sh", "-c"], "/var/lib/python3/pythons"),
        "user": (["runuser", "--login", "worker", "--command"], "/home/worker/.local/share/uv/python"),
        "DynamicUser": (["dynamic"], "/var/lib/dynamic/.local/share/uv/python"),
    }
    faults = 0
    for (account, (become, home)), umask, kind in itertools.product(
        accounts.items(), ("022", "077"), ("system's", "uv's")
    ):
        name = f"{account}-{umask}-{kind[:2]}".lower()
        python = f"{home}/{UV_PYTHON.format(other.version)}"
        fetched = f"mkdir -p {home}; test -e {python} || cp -r /srv/python {python};" if kind == "uv's" else ""
        version = other.version if kind == "uv's" else system_python
        script = (
            f"umask {umask}; {fetched} colab-env env create {name} --python '=={version}' --wheels /srv/wheels demo -q"
            f" && colab-env run {name} demo && colab-env env list && colab-env which {name} demo"
            f" && colab-env env check --deep {name}"
        )
        made = machine(*become, script, check=False)
        texts, codes = [made.stdout + made.stderr], [made.returncode]
        if account == "root":  # what root makes is for everybody
            asked = f"colab-env run {name} demo; colab-env run {name} python -V; colab-env env list; colab-env env check {name}"
            for other_account in (accounts["user"][0], accounts["DynamicUser"][0]):
                done = machine(*other_account, asked, check=False)
                texts.append(done.stdout + done.stderr)
                codes.append(done.returncode)
        is_fine = not any(codes) and TRACEBACK not in "".join(texts) and all("1.0\n" in text for text in texts)
        faults += not is_fine
        print(f"{'✓' if is_fine else '✗'} {account}, umask {umask}, {kind} Python {version}", flush=True)
        if not is_fine:
            print("".join(texts))
    print(f"{12 - faults} of 12 cells")
    return faults


if __name__ == "__main__":
    sys.exit(main())
