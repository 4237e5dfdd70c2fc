"""Build the Debian package of the command: `python packaging/debian/build.py [DIRECTORY]` prints the path of the .deb.

What runs is Python text that fits every CPython from 3.10 on, so the package stands in /usr/share/colab-env, where the
distribution's next Python finds it as this one does. tomlkit and packaging come along, from the Python that runs this
script: nothing that the distribution is in the middle of exchanging has to be there for the trigger to work.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SHARE = "usr/share/colab-env"
BUNDLED = ("tomlkit", "packaging")
MAIN = """\
#!/usr/bin/python3 -IB
import sys
sys.path.insert(0, "/usr/share/colab-env")
from colab_env.__main__ import main
sys.exit(main())
"""
DEBHELPER = {  # by their names in the directory `debhelper`
    "dh_colab_env": "usr/bin/dh_colab_env",
    "colab_env.pm": "usr/share/perl5/Debian/Debhelper/Sequence/colab_env.pm",
    "postinst-colab-env": "usr/share/debhelper/autoscripts/postinst-colab-env",
    "prerm-colab-env": "usr/share/debhelper/autoscripts/prerm-colab-env",
}
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/colab-env",
    "zsh": "usr/share/zsh/vendor-completions/_colab-env",
    "fish": "usr/share/fish/vendor_completions.d/colab-env.fish",
}


def main(directory: Path) -> Path:
    """Build the package into a directory, and return its path."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'(?m)^version = "([^"]+)"', project)
    if version is None or shutil.which("dpkg-deb") is None:
        sys.exit("dpkg-deb is not installed" if version else "pyproject.toml says no version")
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        put_programs(tree)
        put_documents(tree)
        size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file()) // 1024
        control = (HERE / "control").read_text(encoding="utf-8")
        write(tree / "DEBIAN/control", control.format(version=version[1], size=size))
        for name, mode in (("postinst", 0o755), ("prerm", 0o755), ("triggers", 0o644)):
            write(tree / "DEBIAN" / name, (HERE / name).read_text(encoding="utf-8"), mode=mode)
        for path in tree.rglob("*"):  # whatever the umask of the person who builds
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        target = directory / f"colab-env_{version[1]}_all.deb"
        argv = ["dpkg-deb", "-Zxz", "-z1", "--build", "--root-owner-group", str(tree), str(target)]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return target


def put_programs(tree: Path) -> None:
    """Put the two commands and the packages that they import into a tree."""
    shutil.copytree(ROOT / "colab_env", tree / SHARE / "colab_env", ignore=shutil.ignore_patterns("__pycache__"))
    for name in BUNDLED:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            sys.exit(f"{name} is not installed in {sys.executable}")
        source = Path(spec.origin).parent
        shutil.copytree(source, tree / SHARE / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    write(tree / "usr/bin/colab-env", (ROOT / "colab_env/front.sh").read_text(encoding="utf-8"), mode=0o755)
    write(tree / "usr/bin/colab-env-main", MAIN, mode=0o755)


def put_documents(tree: Path) -> None:
    """Put the completions, what other packages are built with, and the examples into a tree."""
    environ = {"PYTHONPATH": str(tree / SHARE), "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin"}
    for shell, path in COMPLETIONS.items():
        argv = [sys.executable, "-m", "colab_env", "completion", shell]
        done = subprocess.run(argv, check=True, capture_output=True, text=True, env=environ, cwd=tree)
        write(tree / path, done.stdout)
    for name in ("postinst", "prerm"):
        write(tree / SHARE / "maintscript" / name, (HERE / "maintscript" / name).read_text(encoding="utf-8"))
    for name, path in DEBHELPER.items():
        mode = 0o755 if path.startswith("usr/bin/") else 0o644
        write(tree / path, (HERE / "debhelper" / name).read_text(encoding="utf-8"), mode=mode)
    write(tree / "usr/share/doc/colab-env/copyright", (ROOT / "LICENSE").read_text(encoding="utf-8"))
    write(tree / "usr/share/doc/colab-env/examples/cron", (HERE / "cron").read_text(encoding="utf-8"))


def write(path: Path, text: str, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


if __name__ == "__main__":
    print(main(Path(sys.argv[1] if sys.argv[1:] else ".").resolve()))
