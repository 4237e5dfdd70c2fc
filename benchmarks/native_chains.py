"""Whole chains of missing packages, for real: `native mend` in a root, from the first failure to the import.

    python benchmarks/native_chains.py ROOT NAME [NAME ...]

ROOT is a Debian as `mmdebstrap --include=build-essential,python3-dev,python3-venv bookworm ROOT` makes one. Each NAME is built
from its source archive in a copy of it: `colab-env native mend --yes -- pip install --no-binary NAME NAME`. What is printed is
how that ended, and a table line. Needs root and a network; a copy takes half a gigabyte, and goes when its build has ended.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
SECONDS = 900  # for one chain
TOOL = "/opt/colab-env"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
ENVIRON = {
    "PATH": "/opt/v/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PIP_CERT": str(CERTIFICATES),
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def run(root: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    words = ["timeout", str(SECONDS), "chroot", str(root), *argv]
    return subprocess.run(words, env=ENVIRON, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def prepare(root: Path) -> None:
    """Put colab-env into a root, with what a network needs."""
    for file in (Path("/etc/resolv.conf"), Path("/etc/hosts"), CERTIFICATES):
        if file.is_file():
            (root / file.parent.relative_to("/")).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, root / file.relative_to("/"))
    shutil.copytree(HERE, root / "opt/source", ignore=shutil.ignore_patterns(".*", "build", "docs", "tests"))
    made = run(root, "sh", "-c", f"python3 -m venv {TOOL} && {TOOL}/bin/pip install --quiet /opt/source")
    made.check_returncode()
    run(root, f"{TOOL}/bin/colab-env", "native", "index").check_returncode()


def mended(root: Path, name: str) -> tuple[bool, str]:
    """Return whether a package was mended and imported in a copy of a root, and the last lines of what was said."""
    with tempfile.TemporaryDirectory(dir=root.parent) as directory:
        copy = Path(directory) / "root"
        subprocess.run(["cp", "-a", "--reflink=auto", root, copy], check=True)
        run(copy, "python3", "-m", "venv", "/opt/v").check_returncode()
        words = ("/opt/v/bin/pip", "install", "--no-binary", name, name)
        ended = run(copy, f"{TOOL}/bin/colab-env", "native", "mend", "--yes", "--", *words)
    lines = [line for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
    marks = [line for line in lines if line.startswith(("✓", "✗", "→", "colab-env:"))]
    return ended.returncode == 0, "\n    ".join(marks[-6:] or lines[-3:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("names", nargs="+")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.root.absolute().parent) as directory:
        root = Path(directory) / "root"
        subprocess.run(["cp", "-a", "--reflink=auto", options.root, root], check=True)
        prepare(root)
        count = 0
        for name in options.names:
            start = time.monotonic()
            ok, said = mended(root, name)
            count += ok
            print(f"{'✓' if ok else '✗'} {name}, {time.monotonic() - start:.0f} s\n    {said}", flush=True)
    total = len(options.names)
    day = time.strftime("%d %B %Y")
    print(f"\n| {day} | whole chain mended and proven by import | 95 % | {count} of {total} ({count / total:.0%}) |")


if __name__ == "__main__":
    main()
