"""`python -m tests.conda_texts DIR`: let the conda of `tests.real_conda` fail in every way, and write down what it prints.

The texts go to `tests/conda_standin/texts.json`, with its version. It needs root, for a file system that is full and
for a user who may not write.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from colab_env.miniconda import _run
from tests import real_conda
from tests.conda_standin.server import Server

TEXTS = Path(__file__).parent / "conda_standin/texts.json"
_FULL = 'mount -t tmpfs -o size=6m tmpfs "$0" && exec "$@"'
_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@dataclass(kw_only=True)
class Place:
    """An installation in a directory of its own, with a channel that a scenario may spoil, and its web server."""

    root: Path
    server: Server
    environ: dict[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()

    @property
    def prefix(self) -> Path:
        return self.root / "conda"

    @property
    def python(self) -> Path:
        return self.prefix / f"bin/python{real_conda.PYTHON}"

    @property
    def channel(self) -> Path:
        return self.root / "channels/conda-forge"

    def spoil(self, *names: str) -> None:
        """Damage packages, so that neither their sums nor their content hold."""
        for name in names:
            (package,) = self.channel.glob(f"*/{name}-[0-9]*.conda")
            content = bytearray(package.read_bytes())
            content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
            package.unlink()  # it is a hard link
            package.write_bytes(content)


def _install(*packages: str, channel: str = "conda-forge") -> Callable[[Place], list[str]]:
    return lambda place: _run.install_argv(place.python, packages, channels=[channel])


def _create(text: str) -> Callable[[Place], list[str]]:
    def argv(place: Place) -> list[str]:
        file = place.root / "environment.yml"
        file.write_text(text)
        place.environ["CONDA_DEFAULT_CHANNELS"] = "conda-forge"  # as colab_env does
        return _run.env_create_argv(place.python, place.root / "made", file)

    return argv


def _variables(**variables: str) -> Callable[[Place], object]:
    return lambda place: place.environ.update(variables)


def _full(name: str) -> Callable[[Place], object]:
    def change(place: Place) -> None:
        (place.root / name).mkdir(exist_ok=True)
        place.before = ("unshare", "-m", "sh", "-c", _FULL, str(place.root / name))

    return change


def _as_nobody(place: Place) -> None:
    subprocess.run(["chmod", "-R", "a+rX", place.root], check=True)
    place.before = _NOBODY


def _wants_consent(place: Place) -> None:
    terms = {"version": "2026-01-01T00:00:00+00:00", "text": "Agree?", "support": "https://support.invalid"}
    (place.channel / "terms.json").write_text(json.dumps(terms))


def _unfit(place: Place) -> None:
    for listing in place.channel.glob("*/repodata.json*"):
        text = listing.read_text() if listing.suffix == ".json" else None
        listing.unlink()
        if text is not None:
            said = json.loads(text)
            for package in said["packages.conda"].values():
                package["depends"] += ["nowhere-to-be-found >=2"] * (package["name"] == "tornado")
            listing.write_text(json.dumps(said))


def _nothing(_: Place) -> None:
    pass


_PIP = "channels: [conda-forge]\ndependencies:\n- python=3.12\n- pip\n- pip:\n  - --no-index\n  - nowhere-to-be-found\n"
# By name: what is done before, and what is run.
SCENARIOS: dict[str, tuple[Callable[[Place], object], Callable[[Place], list[str]]]] = {
    "not found": (_nothing, _install("no-such-package")),
    "no such version": (_nothing, _install("numpy=0.1")),
    "unsatisfiable": (_unfit, _install("tornado")),
    "not found, classic": (_variables(CONDA_SOLVER="classic"), _install("no-such-package")),
    "checksum": (lambda place: place.spoil("mistune"), _install("mistune")),
    "two checksums": (lambda place: place.spoil("mistune", "tornado"), _install("mistune", "tornado")),
    "cut": (lambda place: place.server.always.update({".conda": "cut"}), _install("tornado")),
    "503": (lambda place: place.server.always.update({"": 503}), _install("tornado")),
    "no channel": (_nothing, _install("tornado", channel="nowhere")),
    "refused": (_variables(CONDA_CHANNEL_ALIAS="http://127.0.0.1:9"), _install("tornado")),
    "no such host": (_variables(CONDA_CHANNEL_ALIAS="http://channels.invalid"), _install("tornado")),
    "proxy": (_variables(http_proxy="http://127.0.0.1:9"), _install("tornado", channel="http://channels.invalid/x")),
    "offline": (_variables(CONDA_OFFLINE="1"), _install("tornado")),
    "full": (_full("conda/pkgs"), _install("jupyter")),
    "full prefix": (_full("conda/share"), _install("jupyter")),
    "not writable": (_as_nobody, _install("tornado")),
    "terms": (_wants_consent, _install("tornado")),
    "lost history": (lambda place: (place.prefix / "conda-meta/history").unlink(), _install("tornado")),
    "broken YAML": (_nothing, _create("channels: [conda-forge\ndependencies:\n- tornado: [\n")),
    "odd YAML": (_nothing, _create("channels: conda-forge\ndependencies: 5\n")),
    "empty YAML": (_nothing, _create("")),
    "bad specification": (_nothing, _create("channels: [conda-forge]\ndependencies:\n- tornado=>>5\n")),
    "pip": (_nothing, _create(_PIP)),
}


def main() -> int:
    """Run the scenarios, all or those that are named."""
    parser = argparse.ArgumentParser(prog="python -m tests.conda_texts", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path, help="what tests.real_conda made")
    parser.add_argument("names", nargs="*", choices=[*SCENARIOS, []], metavar="NAME")
    arguments = parser.parse_args()
    made = json.loads((arguments.directory / real_conda.RESULT).read_text())
    texts = json.loads(TEXTS.read_text())["texts"] if TEXTS.exists() else {}
    with tempfile.TemporaryDirectory(prefix="conda-texts-") as name:
        template = Path(name) / "template"
        installer = arguments.directory / made["installer"]
        subprocess.run(_run.installer_argv(installer, template / "conda"), check=True, capture_output=True)
        for scenario in arguments.names or SCENARIOS:
            texts[scenario] = _recorded(scenario, Path(name) / "place", template, arguments.directory)
            print(f"{scenario}: {texts[scenario]['returncode']}", flush=True)
    TEXTS.write_text(json.dumps({"conda": real_conda.CONDA_VERSION, "texts": texts}, indent=1) + "\n")
    return 0


def _recorded(scenario: str, root: Path, template: Path, made: Path) -> dict[str, object]:
    # Whoever runs from a copy finds it where its scripts say that it is not; conda itself is a module.
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run(["cp", "-a", template, root], check=True)
    shutil.copytree(made / "channels/conda-forge", root / "channels/conda-forge", copy_function=os.link)
    root.parent.chmod(0o755)
    with Server(root / "channels") as server:
        home = {"HOME": str(root / "home"), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TMPDIR": str(root / "tmp")}
        (root / "tmp").mkdir()
        place = Place(root=root, server=server, environ={**home, "CONDA_CHANNEL_ALIAS": server.url})
        change, argv = SCENARIOS[scenario]
        change(place)
        words = [*place.before, *argv(place)]
        environ = _run.conda_environ(place.environ)
        finished = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
        url = server.url
    shown = [
        _plain(text.replace(url, "http://channels.invalid").replace(str(root), "/opt"))
        for text in (finished.stdout, finished.stderr)
    ]
    return {"returncode": finished.returncode, "stdout": shown[0], "stderr": shown[1]}


def _plain(text: str) -> str:
    """Leave out what tells of the machine."""
    text = re.sub(r"Linux/\S+ \w+/\S+ glibc/\S+|\x1b\[\w+", "Linux", text)
    return re.sub(r'"(?:Date|Elapsed)[^"]*"|(?<=__archspec=1=)\w+|(?<=UID:GID : )\S+', "", text)


if __name__ == "__main__":
    sys.exit(main())
