"""Time what a cell prints, in the notebook's own kernel and in a `%%colab_env` cell: `python benchmarks/cell_output.py`.

Real kernels, asked as Jupyter's own client asks them, in turns; the time is from the request to the last message, the processors'
time that of the kernels, which other work on the machine hardly changes. Prints a table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import psutil

CELLS = {
    "lines of 100 characters": "for _ in range({size} * 10_000): print('x' * 99)",
    "blocks of 1 MB": "for _ in range({size}): print('x' * 999_999)",
}
_PATIENCE = 600  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        # Before Jupyter is imported, which looks for its directories at once.
        for name in ("HOME", "XDG_DATA_HOME", "IPYTHONDIR"):
            os.environ.pop(name, None)
        os.environ["HOME"] = scratch
        setup = [sys.executable, "-m", "colab_env", "setup", "--interpreter", "system", "--kernel", "other"]
        subprocess.run([*setup, "--project", scratch], check=True)
        print(
            "| cell | notebook's own kernel (s) | `%%colab_env` (s) | ratio | range of ratios | processors (s) |\n"
            "|---|---:|---:|---:|---:|---:|"
        )
        for name, code in CELLS.items():
            measured = measure(code.format(size=arguments.megabytes), arguments.megabytes * 10**6, arguments.rounds)
            ratios = [other / own for (own, _), (other, _) in measured]
            own, other = (
                [statistics.median(each) for each in zip(*times, strict=True)] for times in zip(*measured, strict=True)
            )
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            cells = f"{own[0]:.2f} | {other[0]:.2f} | {statistics.median(ratios):.2f} | {spread} | {own[1]:.2f}, {other[1]:.2f}"
            print(f"| {name} | {cells} |", flush=True)


def measure(code: str, size: int, rounds: int) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return a cell's seconds and the processors' in the notebook's own kernel and in the other one, for each round."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    kernel = psutil.Process(manager.provisioner.process.pid)

    def timed(cell: str) -> tuple[float, float]:
        before = work(kernel)
        return seconds(client, cell, size), work(kernel) - before

    try:
        seconds(client, "%load_ext colab_env")
        seconds(client, "%%colab_env other\n1")
        return [(timed(code), timed("%%colab_env other\n" + code)) for _ in range(rounds)]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def work(kernel: Any) -> float:
    """Return the seconds that processors have worked for a kernel and for the one that it started."""
    return sum(sum(each.cpu_times()[:2]) for each in [kernel, *kernel.children()])


def seconds(client: Any, code: str, size: int = 0) -> float:
    """Run a cell to its end; raise where it fails or prints less than `size` characters."""
    began, printed = time.perf_counter(), 0
    sent = client.execute(code)
    while True:
        message = client.get_iopub_msg(timeout=_PATIENCE)
        if message["parent_header"].get("msg_id") != sent:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            printed += len(content["text"])
        if kind == "error":
            raise RuntimeError("\n".join(content["traceback"]))
        if kind == "status" and content["execution_state"] == "idle":
            client.get_shell_msg(timeout=_PATIENCE)
            if printed < size:
                msg = f"{printed} of {size} characters arrived"
                raise RuntimeError(msg)
            return time.perf_counter() - began


if __name__ == "__main__":
    main()
