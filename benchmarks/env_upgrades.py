"""Upgrade an environment again and again while programs start from it, one runs on, and a stranger sits in it.

Run it: `python benchmarks/env_upgrades.py [NUMBER]`. As root, the stranger is another account.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from env_fixtures import DEMO, install_command  # noqa: E402
from small_wheels import write_wheel  # noqa: E402

from colab_env import envs  # noqa: E402

SERVICE = "print(1, flush=True); input(); import demo, json, decimal; print(demo.version)"


def main(number: int) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.update({"COLAB_ENV_BASE": f"{scratch}/envs", "HOME": scratch})
        wheels, command = Path(scratch, "wheels"), install_command(Path(scratch, "bin"))
        write_wheel(wheels, "demo", "1.0", code=DEMO, programs=["demo"])
        place = envs.create("web", "demo", wheels=wheels).where
        other = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        stranger = subprocess.Popen(["sleep", "3600"], cwd=place, **other)
        service = command.start("run", "web", "python", "-c", SERVICE, stdin=subprocess.PIPE)
        service.stdout.readline()
        codes: list[int] = []
        is_over = threading.Event()

        def load() -> None:
            while not is_over.is_set():
                codes.append(command("run", "web", "demo").returncode)

        starts = threading.Thread(target=load)
        starts.start()
        began = time.perf_counter()
        try:
            for version in range(2, number + 2):
                write_wheel(wheels, "demo", f"{version}.0", code=DEMO, programs=["demo"])
                envs.create("web", "demo", wheels=wheels)
            seconds = time.perf_counter() - began
        finally:
            is_over.set()
            starts.join()
            stranger.kill()
            stranger.wait()
            said = service.communicate("\n")[0].strip()
        began = time.perf_counter()
        envs.rollback("web")
        back = time.perf_counter() - began
        left = sorted(int(path.name) for path in (place.parent / ".builds/web").iterdir())
        print(
            f"{number} upgrades in {seconds:.0f} s, none refused; {len(codes)} starts meanwhile, {sum(map(bool, codes))} failed"
        )
        print(
            f"what was started before the first runs on as {said}; builds on the disk: {left}; rollback {1000 * back:.0f} ms"
        )
        return int(any(codes) or said != "1.0")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
