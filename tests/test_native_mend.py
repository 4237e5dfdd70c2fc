"""`native mend`: what apt says, what is written down, what `undo` takes back; and for real, in a root made by mmdebstrap."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from colab_env import _ledger, _process, native, pyproject, undoing
from colab_env.errors import AptError, DiskFullError, NetworkError, ProjectFileError, UsageError
from colab_env.machine import Machine
from colab_env.native_need import mending
from colab_env.native_need.apt import Apt, AptPlan, check_name
from colab_env.native_need.missing import Answer, Candidate, Explanation, Missing, OtherCause

LINE = "apt-get install -y --no-install-recommends libgdal-dev"
# What apt 2.6 and dpkg 1.21 print.
SAID = [
    (
        "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 42 (apt-get)",
        AptError,
        "it holds /var/lib/dpkg/lock-frontend",
        f"wait until it is done, then: {LINE}",
    ),
    (
        "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem. ",
        AptError,
        "interrupted",
        f"dpkg --configure -a && {LINE}",
    ),
    (
        "E: You don't have enough free space in /var/cache/apt/archives/.",
        DiskFullError,
        "no space left",
        f"make room, then: {LINE}",
    ),
    (
        "E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)",
        AptError,
        "only root",
        f"sudo apt-get update && sudo {LINE}",
    ),
    ("E: Unable to locate package libgdal-dev", AptError, "no package libgdal-dev", f"apt-get update && {LINE}"),
    ("E: Packages need to be removed but remove is disabled.", AptError, "would remove other packages", LINE),
    (
        "E: Unable to correct problems, you have held broken packages.",
        AptError,
        "held broken packages",
        f"see why: {LINE}",
    ),
    (
        "Err:1 http://deb.example/debian bookworm InRelease\n  Temporary failure resolving 'deb.example'",
        NetworkError,
        "cannot download from deb.example",
        f"once there is a network: apt-get update && {LINE}",
    ),
    ("E: something new", AptError, "ended with exit code 100", f"try it yourself: {LINE}"),
]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine.detect({**os.environ, "HOME": str(tmp_path), "COLAB_ENV_HOME": str(tmp_path / "data")})


@pytest.mark.parametrize(("text", "kind", "message", "hint"), SAID)
def test_what_apt_says_becomes_a_sentence_and_the_line_to_paste(machine, text, kind, message, hint):
    finished = _process.Finished(argv=("apt-get",), returncode=100, lines=tuple(text.splitlines()))
    error = Apt(machine=machine)._problem(finished, ["libgdal-dev"])
    assert isinstance(error, kind)
    assert message in error.message
    assert error.hint == hint


@pytest.mark.parametrize("name", ["", "-y", "a;b", "$(id)", "libfoo-", "Lib", "../x", "a b", "lib\nfoo", "ä"])
def test_a_name_out_of_a_log_that_is_none_of_a_package_goes_nowhere(machine, name):
    with pytest.raises(UsageError, match="not the name of a package"):
        check_name(name)
    with pytest.raises(UsageError):
        Apt(machine=machine).plan([name])
    assert not machine.data.exists()


@pytest.mark.parametrize("name", ["g++", "libc6", "libglib2.0-0t64", "python3.11-dev", "0ad", "libstdc++6"])
def test_debian_s_own_names_are_taken(name):
    check_name(name)


PRICED = """\
Reading package lists...
The following additional packages will be installed:
  libfoo1
The following packages will be REMOVED:
  other* gone:i386
The following NEW packages will be installed:
  libfoo-dev
  libfoo1
The following packages will be upgraded:
  libbar
1 upgraded, 2 newly installed, 2 to remove and 0 not upgraded.
Need to get 1,234 kB of archives.
After this operation, 5,678 kB of additional disk space will be used.
'http://deb.example/a.deb' a.deb 1000 SHA256:00
'http://deb.example/b.deb' b.deb 234 SHA256:00
"""


def test_an_index_is_made_of_the_lists_that_came_and_says_which_did_not(machine, monkeypatch):
    texts = {
        "contents": b"usr/include/foo.h    libdevel/libfoo-dev\nusr/share/doc/foo    libdevel/libfoo-dev\n",
        "packages": b"Package: libfoo-dev\nDepends: libfoo1\n",
    }
    monkeypatch.setattr(Apt, "health_check", lambda self: None)
    monkeypatch.setattr(
        Apt,
        "release",
        lambda self: {"system": "debian", "version": "12", "architecture": "amd64", "sources": "0"},
    )
    monkeypatch.setattr(Apt, "update", lambda self, **_: "E: Failed to fetch http://deb.example/bookworm-updates")
    monkeypatch.setattr(
        Apt, "_lists", lambda self: [("colab-env-contents", Path("contents")), ("Packages", Path("packages"))]
    )
    monkeypatch.setattr(Apt, "_text", lambda self, file: [texts[file.name][:30], texts[file.name][30:]])
    for _ in range(2):  # the second time it is read, not made, and is as incomplete as it was
        index, note = Apt(machine=machine).index()
        assert index.locations("foo.h")[0].packages == ("libfoo-dev",)
        assert "bookworm-updates" in str(note)
        assert "--refresh" in str(note)


def fake_apt(directory: Path, *, prints: str = "", code: int = 0) -> Path:
    """Make a fake apt-get, which prints a text and notes what it was asked: (fake, the outermost edge)."""
    program = directory / "apt-get"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "said").write_text(prints)
    program.write_text(f'#!/bin/sh\necho "$@" >> {directory}/asked\ncat {directory}/said\nexit {code}\n')
    program.chmod(0o755)
    return program


@pytest.fixture
def with_fake_apt(machine: Machine, tmp_path: Path) -> Apt:
    fake_apt(tmp_path / "bin", prints=PRICED)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    return Apt(machine=Machine.detect({**machine.environ, "PATH": path}))


def test_a_plan_has_what_comes_what_goes_and_what_it_costs(with_fake_apt):
    plan = with_fake_apt.plan(["libfoo-dev"])
    assert plan == AptPlan(
        packages=("libfoo-dev",),
        new=("libfoo-dev", "libfoo1"),
        upgraded=("libbar",),
        removed=("other", "gone"),
        download=1234,
        disk=5_678_000,
    )
    assert "2 new packages, 1 upgraded" in repr(plan)


ANSWER = Answer(
    missing=Missing(kind="header", name="foo.h"),
    candidates=(Candidate(package="libfoo-dev", file="usr/include/foo.h", reason="it has it"),),
)


class Rounds:
    """A command that fails with what is given, one after the other, and then works."""

    def __init__(self, *explanations: Explanation) -> None:
        self.left = list(explanations)
        self.commands: list[list[str]] = []

    def __call__(self, argv):
        self.commands.append(list(argv))
        return self.left.pop(0) if self.left else Explanation(returncode=0)


MISSES_FOO = Explanation(findings=(ANSWER.missing,), returncode=1)


def a_plan(names: list[str]) -> AptPlan:
    return AptPlan(packages=tuple(names), new=(*names, "libfoo1"))


def mender(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: Rounds, **changes):
    """A mender whose apt knows one package (the edges that are patched: index, plan, install)."""
    monkeypatch.setattr(Apt, "index", lambda self: (None, None))
    monkeypatch.setattr(Apt, "has_recent_lists", lambda self: True)
    monkeypatch.setattr(
        Apt, "plan", lambda self, names: changes.get("plan", AptPlan(packages=tuple(names), new=(*names, "libfoo1")))
    )
    monkeypatch.setattr(Apt, "install", changes.get("install", lambda self, plan: None))
    monkeypatch.setattr(mending, "answer_on", lambda *_, **__: changes.get("answer", ANSWER))
    return mending.Mender(
        machine=machine,
        project=tmp_path,
        explain=rounds,
        confirm=changes.get("confirm", lambda _: True),
        is_root=changes.get("is_root", True),
    )


def test_mend_installs_retries_and_writes_down(machine, tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("# mine\n[project]\nname = 'x'\n")
    (tmp_path / "apt.txt").write_text("git\n")
    result = mender(machine, tmp_path, monkeypatch, rounds := Rounds(MISSES_FOO)).run(["make"])
    assert result.ok
    assert rounds.commands == [["make"], ["make"]]
    assert result.packages == ("libfoo-dev",)
    assert 'apt = ["libfoo-dev"]' in (tmp_path / "pyproject.toml").read_text()
    assert (tmp_path / "apt.txt").read_text() == "git\nlibfoo-dev\n"
    assert result.written == ("pyproject.toml", "apt.txt")


NAMES_FOO = Explanation(findings=(ANSWER.missing,))


def test_mend_of_a_log_installs_what_it_names_and_says_that_a_log_cannot_be_tried(machine, tmp_path, monkeypatch):
    rounds = Rounds()
    result = mender(machine, tmp_path, monkeypatch, rounds).run((), log=NAMES_FOO)
    assert result.ok
    assert result.packages == ("libfoo-dev",)
    assert rounds.commands == []
    assert "all that the log names is installed" in repr(result)
    assert "run again what failed" in repr(result)


def test_mend_of_a_log_of_a_failed_import_proves_by_that_import(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(mending, "_python_of", lambda *_: Path(sys.executable))
    failed = Missing(kind="shared-object", name="libfoo.so.1", phase="run", distribution="foo")
    rounds = Rounds(MISSES_FOO)  # the import misses one more thing
    result = mender(machine, tmp_path, monkeypatch, rounds).run((), log=Explanation(findings=(failed,)))
    assert result.ok
    assert len(result.installed) == 2
    assert result.proven == ("module:foo",)
    assert [argv[-1] for argv in rounds.commands] == ["module:foo"] * 2


@pytest.mark.parametrize(
    ("log", "stopped"),
    [
        (Explanation(), "names no missing thing"),
        (Explanation(other=OtherCause(kind="disk", evidence="No space left", line=1, advice="free some")), "disk"),
    ],
)
def test_mend_of_a_log_that_names_nothing_missing_installs_nothing(machine, tmp_path, monkeypatch, log, stopped):
    result = mender(machine, tmp_path, monkeypatch, Rounds()).run((), log=log)
    assert not result.ok
    assert result.installed == ()
    assert stopped in str(result.stopped)


def test_mend_takes_a_log_or_a_command(tmp_path):
    with pytest.raises(UsageError, match="two things"):
        native.mend(["make"], log=tmp_path / "build.log")


def test_mend_stops_at_another_cause_and_keeps_what_was_cured(machine, tmp_path, monkeypatch):
    other = OtherCause(kind="source-mismatch", evidence="longintrepr.h", line=3, advice="take another version")
    rounds = Rounds(MISSES_FOO, Explanation(other=other, returncode=1))
    result = mender(machine, tmp_path, monkeypatch, rounds).run(["make"])
    assert not result.ok
    assert result.packages == ("libfoo-dev",)
    assert "longintrepr.h" in str(result.stopped)


@pytest.mark.parametrize(
    ("changes", "stopped", "proposed"),
    [
        ({"is_root": False}, "only root", "sudo apt-get install"),
        ({"confirm": lambda _: False}, "not installed", "apt-get install"),
        (
            {"plan": AptPlan(packages=("libfoo-dev",), new=("libfoo-dev",), removed=("mine",))},
            "would remove mine",
            "see: ",
        ),
        ({"plan": AptPlan(packages=("libfoo-dev",), new=())}, "does not help", ""),
        ({"answer": Answer(missing=ANSWER.missing, note="it belongs to a driver")}, "driver", ""),
    ],
)
def test_mend_leaves_alone_what_it_may_not_change(machine, tmp_path, monkeypatch, changes, stopped, proposed):
    installed: list[AptPlan] = []
    changes["install"] = lambda self, plan: installed.append(plan)
    result = mender(machine, tmp_path, monkeypatch, Rounds(MISSES_FOO), **changes).run(["make"])
    assert not result.ok
    assert installed == []
    assert stopped in str(result.stopped)
    assert proposed in str(result.proposed or "")


def test_an_error_of_apt_in_the_second_round_leaves_the_first_one_written_down(machine, tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    plans: list[AptPlan] = []

    def install(self, plan):
        plans.append(plan)
        if len(plans) > 1:
            raise AptError("no", hint="later")

    with pytest.raises(AptError):
        mender(machine, tmp_path, monkeypatch, Rounds(MISSES_FOO, MISSES_FOO), install=install).run(["make"])
    assert "libfoo-dev" in (tmp_path / "pyproject.toml").read_text()


def test_without_a_command_it_installs_what_the_project_asks_for_and_the_system_does_not_have(
    machine, tmp_path, monkeypatch
):
    mend = mender(machine, tmp_path, monkeypatch, Rounds())
    status = tmp_path / "status"
    status.write_text(
        "Package: bash\nEssential: yes\nStatus: install ok installed\n\n"
        "Package: gone\nStatus: deinstall ok config-files\n\nPackage: held\nStatus: hold ok installed\n"
    )
    mend.apt = Apt(machine=machine, status=status)
    result = mend.install(["bash", "held", "gone", "libfoo-dev=1.2"])
    assert result.ok
    assert result.packages == ("gone", "libfoo-dev=1.2")
    assert "✓ gone: installed" in repr(result)
    refused = mender(machine, tmp_path, monkeypatch, Rounds(), is_root=False).install(["libfoo-dev"])
    assert (refused.ok, refused.packages) == (False, ())
    assert str(refused.stopped).startswith("the project asks for libfoo-dev")


def test_undo_removes_what_came_and_only_that(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLAB_ENV_HOME", str(machine.data))
    mender(machine, tmp_path, monkeypatch, Rounds(MISSES_FOO)).run(["make"])
    (entry,) = [
        each for each in _ledger.Ledger(machine.data).read().entries if isinstance(each.after, _ledger.Installed)
    ]
    assert entry.after.packages == ("libfoo-dev", "libfoo1")
    removed: list[list[str]] = []
    monkeypatch.setattr(Apt, "installed", lambda self: frozenset({"libfoo1", "libfoo-dev", "bash"}))
    monkeypatch.setattr(
        Apt, "removal_obstacle", lambda self, names: "mine needs it and was there before, or came since"
    )
    monkeypatch.setattr(Apt, "remove", lambda self, names: removed.append(sorted(names)))
    left = undoing.undo("mend")
    assert not left.complete
    assert "libfoo-dev" in repr(left)
    assert "/var/lib/dpkg" not in repr(left)
    assert removed == []
    monkeypatch.setattr(Apt, "removal_obstacle", lambda self, names: None)
    assert undoing.undo("mend").complete
    assert removed == [["libfoo-dev", "libfoo1"]]
    assert undoing.undo("mend").places == ()


def test_the_project_s_own_list_of_packages_must_be_a_list(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.colab-env]\napt = "git"\n')
    with pytest.raises(ProjectFileError, match="apt"):
        pyproject.add_apt(tmp_path, ["curl"])


def test_packages_are_written_once(tmp_path):
    (tmp_path / "pyproject.toml").write_bytes(b"[tool.black]\r\nx = 1\r\n[project]\r\nname = 'x'\r\n")
    assert pyproject.add_apt(tmp_path, ["git"]) == ["pyproject.toml"]
    assert pyproject.add_apt(tmp_path, ["git"]) == []
    content = (tmp_path / "pyproject.toml").read_bytes()
    assert content.count(b"git") == 1
    assert content.count(b"\n") == content.count(b"\r\n")


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (["pip", "install", "-q", "fiona==1.9.5", "-r", "requirements.txt"], ["fiona"]),
        (["uv", "pip", "install", "--python", "x", "h5py[a]>=3", "./dir", "a.whl"], ["h5py"]),
        (["poetry", "add", "GDAL@3.6"], ["GDAL"]),
        (["make", "all"], []),
    ],
)
def test_the_distributions_of_a_command_are_what_is_imported(command, names):
    assert list(mending._distributions(command)) == names


def test_an_import_that_fails_is_the_proof_s_own_traceback(tmp_path):
    (tmp_path / "broken_one.py").write_text("raise OSError('libfoo.so.1: cannot open shared object file')")
    proof = mending.import_proof([sys.executable, "-m", "pip", "install", "x"], ["broken_one"], os.environ)
    assert proof is not None
    done = subprocess.run(
        proof, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "libfoo.so.1" in done.stderr


# --- for real


IN_ROOT = """\
mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" env -i HOME=/root LANG=C.UTF-8 \
PATH=/opt/tool/bin:/usr/sbin:/usr/bin:/sbin:/bin PIP_DISABLE_PIP_VERSION_CHECK=1 COLAB_ENV_HOME=/root/data "$@"
"""
WHEELS = ("requests", "nbformat", "tomlkit", "packaging")
PROBED = ("pyzbar", "cairocffi", "GitPython", "pyusb", "nvidia-ml-py")
# What is run, and the package that it turns out to need: a library by name, one by file, a program, one that only a
# watched run shows, a header behind a compiler, a module of pkg-config, a choice; and one to be refused.
REAL = [
    (["python", "-c", "import pyzbar.pyzbar"], ["libzbar0"]),
    (["python", "-c", "import cairocffi"], ["libcairo2"]),
    (["python", "-c", "import git"], ["git"]),
    (["python", "-c", "import usb.core; usb.core.find()"], ["libusb-1.0-0"]),
    (["pip", "install", "python-lzo"], ["build-essential", "liblzo2-dev"]),
    (["pip", "install", "systemd-python"], ["pkgconf", "libsystemd-dev"]),
    (["pip", "install", "pycurl", "--no-binary", "pycurl"], ["libcurl4-*", "lib*-dev"]),
    (["python", "-c", "import pynvml; pynvml.nvmlInit()"], None),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a Debian 12 without a compiler and without apt's lists, with this package in it."""
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        pytest.skip("needs root, and mmdebstrap to make a Debian in")
    path = tmp_path_factory.mktemp("debian") / "root"
    # Without syncs, translations and manuals: what is tested is a failure, and not a disk.
    options = ["--variant=minbase", "--include=python3-venv,python3-dev,ca-certificates"]
    options += [
        "--aptopt=Acquire::Languages none",
        "--dpkgopt=force-unsafe-io",
        "--dpkgopt=path-exclude=/usr/share/man/*",
    ]
    made = subprocess.run(["mmdebstrap", *options, "bookworm", path], capture_output=True, text=True, check=False)
    if made.returncode and "Failed to fetch" in made.stderr + made.stdout:
        pytest.skip("no Debian can be downloaded here")
    assert made.returncode == 0, made.stderr[-2000:]
    shutil.copytree(ROOT / "colab_env", path / "opt" / "source" / "colab_env")
    for name in (
        "etc/pip.conf",
        "etc/xdg/pip",
        "root/.config/pip",
        "etc/resolv.conf",
        "etc/ssl/certs/ca-certificates.crt",
    ):
        source = Path("/") / name
        if source.exists():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, path / name) if source.is_dir() else shutil.copy(source, path / name)
    inside(path, "python3", "-m", "venv", "/opt/tool")
    said = inside(path, "pip", "install", "-q", *WHEELS, *PROBED)
    assert list(path.glob("opt/tool/lib/python3.11/site-packages/nvidia_ml_py*")), said
    (path / "opt/tool/lib/python3.11/site-packages/source.pth").write_text("/opt/source\n")
    return path


def inside(root: Path, *words: str) -> str:
    argv = ["unshare", "--mount", "sh", "-c", IN_ROOT, str(root), *words]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout


# One test: the root is made once, whichever workers there are.
@pytest.mark.machine
@pytest.mark.network
def test_a_debian_fails_is_mended_until_it_imports_and_is_put_back(root):
    before = inside(root, "dpkg-query", "-W", "-f", "${Package} ").split()
    for command, packages in REAL:
        said = inside(root, "python", "-m", "colab_env", "native", "mend", "--yes", "--", *command)
        if packages is None:
            assert "driver" in said
            assert "Installing" not in said
            continue
        lines = [line.split(":")[0].removeprefix("✓ ") for line in said.splitlines() if line.startswith("✓")]
        assert len(lines) == len(packages) + 1, said
        assert all(map(fnmatch.fnmatchcase, lines, packages)), said
        assert "✓ it works" in said
    undone = inside(root, "python", "-m", "colab_env", "undo", "mend")
    assert inside(root, "dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Package}\n").count("ii ") == len(before), undone
