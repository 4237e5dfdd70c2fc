"""Run real daemons under what `colab-env unit` prints, on a machine whose process 1 is a real systemd.

Run it: `python benchmarks/units.py`, as root on a Debian with systemd and dpkg; it needs the package index. Each service is
tried (`unit --try`), written, started, asked for something, and stopped. The machine is an overlay over this one, and goes.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import systemd_machine  # noqa: E402
from small_wheels import write_wheel  # noqa: E402

CODE = """
import os, pathlib, sys, time
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"wsgi"]
async def asgi(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"asgi"})
def celery():
    from celery import Celery
    folder = {key: os.path.expanduser("~/queue") for key in ("data_folder_in", "data_folder_out")}
    pathlib.Path("~/queue").expanduser().mkdir(exist_ok=True)
    app = Celery("daemons", broker="memory://", broker_transport_options=folder)
    @app.task(name="slow")
    def slow():
        pathlib.Path("~/begun").expanduser().touch()
        time.sleep(3)
        pathlib.Path("~/ended").expanduser().touch()
    return app
def watch():
    import psutil
    figures = psutil.virtual_memory().total, psutil.cpu_percent(), len(psutil.net_io_counters(pernic=True)), psutil.boot_time()
    print(figures, psutil.Process().memory_info().rss, flush=True)
    rest()
def diary():
    path = pathlib.Path("~/notes/today").expanduser()
    path.parent.mkdir(exist_ok=True)
    path.write_text("written")
    rest()
def rest():
    pathlib.Path(os.environ["HOME"], "ready").touch()
    time.sleep(600)
def report():
    pathlib.Path(os.environ["HOME"], "report").write_text("done")
def main():
    {"watch": watch, "diary": diary, "one": rest, "two": rest, "report": report}[sys.argv[1]]()
"""
CELERY = "from daemons import celery\napp = celery()\n"


@dataclass(frozen=True)
class Daemon:
    """A program of the environment, how its unit is called, and a shell line that ends well once it works.

    `after` is one that ends well after the service was stopped.
    """

    title: str
    unit: str
    words: str
    proof: str
    options: str = ""
    after: str = "true"


def get(*options: str) -> str:
    return " ".join(
        ["curl", "--silent", "--fail", "--retry", "20", "--retry-all-errors", "--retry-delay", "1", *options]
    )


DAEMONS = (
    Daemon("gunicorn, TCP", "web-gunicorn", "web gunicorn --bind 127.0.0.1:8101 daemons:app", get("127.0.0.1:8101")),
    Daemon(
        "gunicorn, unix socket, two workers",
        "sock-gunicorn",
        "sock gunicorn --workers 2 --bind unix:/run/sock-gunicorn/http daemons:app",
        get("--unix-socket", "/run/sock-gunicorn/http", "http://x/"),
    ),
    Daemon("uvicorn, TCP", "web-uvicorn", "web uvicorn --port 8103 daemons:asgi", get("127.0.0.1:8103")),
    Daemon(
        "gunicorn with uvicorn's workers",
        "async-gunicorn",
        "async gunicorn -k uvicorn.workers.UvicornWorker --bind 127.0.0.1:8104 daemons:asgi",
        get("127.0.0.1:8104"),
    ),
    Daemon("celery, in memory", "web-celery", "web celery -A work worker --pool solo", "sleep 3"),
    Daemon(
        "celery, processes, files below ~",
        "files-celery",
        "files celery -b filesystem:// -A work worker --concurrency 2 --pidfile celery.pid",
        # A task is at work when the service is stopped, and comes to its end.
        "cd /var/lib/private/files-celery && test -s celery.pid -a -d queue && { test -e begun || {"
        " env HOME=$PWD colab-env run files celery -b filesystem:// -A work call slow; false; }; }",
        after="test -e /var/lib/files-celery/ended",
    ),
    Daemon("psutil", "psutil-daemons", "psutil daemons watch", "test -e /var/lib/psutil-daemons/ready"),
    Daemon("writes below ~", "web-daemons", "web daemons diary", "grep -q written /var/lib/web-daemons/notes/today"),
    Daemon(
        "two programs through python",
        "web-one web-two",
        "web python /srv/one.py\nweb python /srv/two.py",
        "test -e /var/lib/web-one/ready -a -e /var/lib/web-two/ready",
    ),
    Daemon(
        "a timer",
        "report-daemons",
        "report daemons report",
        "systemctl -q is-active report-daemons.timer && systemctl start report-daemons && test -s /var/lib/report-daemons/report",
        options="--on-calendar daily",
    ),
)


def main() -> int:
    if reason := systemd_machine.reason_to_skip():
        print(f"skipped: {reason}")
        return 0
    foreign = ("PYTHON", "VIRTUAL_ENV", "COLAB_ENV", "XDG_", "PATH", "HOME", "LANG")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    with tempfile.TemporaryDirectory() as scratch, systemd_machine.started(environ) as machine:
        prepare(machine, Path(scratch))
        faults = [fault for daemon in DAEMONS if (fault := run(machine, daemon))]
    print(f"{len(DAEMONS) - len(faults)} of {len(DAEMONS)} daemons run")
    return bool(faults)


def prepare(machine: systemd_machine.SystemdMachine, scratch: Path) -> None:
    """Install the Debian package, and make the environments. What the overlay lies over is seen inside, below /tmp too."""
    built = subprocess.run(
        [sys.executable, ROOT / "packaging/debian/build.py", scratch], check=True, capture_output=True, text=True
    ).stdout.strip()
    machine("dpkg", "--install", built)
    wheel = write_wheel(scratch, "daemons", "1.0", code=CODE, programs=["daemons"])
    work = write_wheel(scratch, "work", "1.0", code=CELERY)
    for name in ("one", "two"):
        machine("sh", "-c", f"printf 'import daemons\\ndaemons.rest()\\n' > /srv/{name}.py")
    packages = ("gunicorn", "uvicorn", "celery", "psutil", str(wheel), str(work))
    for name in ("web", "sock", "async", "files", "psutil", "report"):
        machine("colab-env", "env", "create", name, *packages, "--quiet")


def run(machine: systemd_machine.SystemdMachine, daemon: Daemon) -> str | None:
    """Try, write, start, ask and stop a service; print one line, and return what was wrong."""
    options, began = shlex.split(daemon.options), time.monotonic()
    units = daemon.unit.split()
    started = [f"{name}.timer" for name in units] if options else units
    steps = [
        *(
            ["colab-env", "unit", "--try", *options, "-o", "/etc/systemd/system", *words.split()]
            for words in daemon.words.splitlines()
        ),
        ["systemctl", "daemon-reload"],
        ["systemctl", "start", *started],
        ["sh", "-c", f"for turn in $(seq 50); do if {daemon.proof}; then exit 0; fi; sleep 0.2; done; exit 1"],
        *([] if options else [["systemctl", "is-active", *units]]),
        ["systemctl", "stop", *started],
        ["sh", "-c", daemon.after],
    ]
    fault = None
    for words in steps:
        done = machine(*words, check=False)
        if done.returncode:
            journal = machine(
                "journalctl", "--no-pager", "-n", "15", *(f"--unit={name}" for name in units), check=False
            )
            fault = f"{shlex.join(words)}\n{done.stdout}{done.stderr}{journal.stdout}"
            break
    mark = "✗" if fault else "✓"
    print(f"{mark} {daemon.title}, {time.monotonic() - began:.1f} s{f': {fault}' if fault else ''}", flush=True)
    return fault


if __name__ == "__main__":
    sys.exit(main())
