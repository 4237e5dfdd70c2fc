# ruff: noqa: F811  the fixtures are imported
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conda_standin.fixtures import (  # noqa: F401
    REAL,
    defaults,
    machine,
    other_standin,
    runtime,
    server,
    standin,
    standin_only,
    standin_site,
    state,
)
from conda_standin.server import Server
from packaging.specifiers import SpecifierSet

from colab_env import _files, _ledger, _orphans, _process, _report, interpreter_sources, steps
from colab_env.errors import (
    ColabEnvError,
    CommandError,
    CondaError,
    DiskFullError,
    HashMismatchError,
    InstallerError,
    MissingStepError,
    NetworkError,
    NoSuchPythonError,
    NotOursError,
    NotWritableError,
    PackageNotFoundError,
    TermsOfServiceError,
    UsageError,
)
from colab_env.interpreters import conda as conda_interpreters
from colab_env.machine import Machine
from colab_env.miniconda import _overlay, _overlay_undo, _run, conda
from colab_env.miniconda.faults import CONDA_FAULTS, INSTALLER_FAULTS, recognise
from colab_env.request import Request
from colab_env.step import changing

PY312 = SpecifierSet("==3.12.*")


def no_sleep(_: float) -> None:
    pass


@pytest.fixture
def source(server, standin) -> conda.Source:
    return conda.Source(installer=f"{server.url}/{standin.name}", sha256=standin.sha256)


@pytest.fixture
def prefix(tmp_path) -> Path:
    return tmp_path / "miniconda3"


@pytest.fixture
def install(source, runtime):
    def install(prefix: Path, **changes: object) -> bool:
        arguments = {"source": source, "machine": runtime, "specifier": PY312, "sleep": no_sleep, **changes}
        return conda.install(arguments.pop("source"), prefix=prefix, **arguments)

    return install


@pytest.fixture(scope="session")
def template(standin, standin_site) -> Path:
    """One installation for all tests: only the first lines of its scripts name the place where it was made."""
    prefix, home = standin_site / "template", standin_site / "home"
    runtime = Machine.detect({"HOME": str(home), "PATH": os.environ["PATH"]})
    with Server(standin.path.parent) as server:
        source = conda.Source(installer=f"{server.url}/{standin.name}", sha256=standin.sha256)
        conda.install(source, prefix=prefix, machine=runtime)
    return prefix


@pytest.fixture
def installed(template, prefix) -> Path:
    subprocess.run(["cp", "-a", template, prefix], check=True)
    return prefix


def with_environ(runtime, **variables: str):
    return dataclasses.replace(runtime, environ={**runtime.environ, **variables})


# Which installer


def test_every_pinned_row_can_be_read():
    rows = conda.installers()
    assert len(rows) == 188
    assert {row.distribution for row in rows} == {"miniconda", "miniforge"}
    assert all(row.version for row in rows)
    assert all(row.python for row in rows if row.distribution == "miniconda")


@pytest.mark.parametrize(
    ("specifier", "start"),
    [
        (">=3.11,<3.13", "Miniconda3-py312_26."),
        ("==3.12.*", "Miniconda3-py312_26."),
        ("==3.12.4", "Miniconda3-py312_26."),
        ("~=3.11.2", "Miniconda3-py311_26."),
        (">3.12.5,<3.13", "Miniconda3-py312_26."),
        ("==3.8.*", "Miniconda3-py38_"),
    ],
)
def test_the_newest_release_with_the_newest_fitting_python_is_chosen(specifier, start):
    chosen = conda.choose(SpecifierSet(specifier))
    assert chosen.name.startswith(start)
    assert chosen.url == f"https://repo.anaconda.com/miniconda/{chosen.name}"
    rivals = [row for row in conda.installers() if row.distribution == "miniconda" and row.python == chosen.python]
    assert chosen.version == max(row.version for row in rivals)


def test_releases_are_compared_as_numbers():
    assert conda.choose(SpecifierSet("==3.9.*")).version > (4, 12, 0)


def test_an_unknown_python_names_what_there_is():
    with pytest.raises(NoSuchPythonError, match=r"fits ==3.6.\*; there are 3.7, 3.8, 3.9, 3.10, .*3.14"):
        conda.choose(SpecifierSet("==3.6.*"))


def test_miniforge_comes_from_its_releases():
    chosen = conda.choose(SpecifierSet(">=3.12"), distribution="miniforge")
    start = "https://github.com/conda-forge/miniforge/releases/download/26.3.2-3/"
    assert chosen.url == f"{start}Miniforge3-26.3.2-3-Linux-x86_64.sh"
    with pytest.raises(NoSuchPythonError, match=r"no Miniforge installer .* there are 3\.13"):
        conda.choose(SpecifierSet("==3.12.*"), distribution="miniforge")


def test_an_unknown_distribution_is_refused():
    with pytest.raises(UsageError, match="'anaconda'"):
        conda.choose(SpecifierSet(), distribution="anaconda")


def test_a_mirror_replaces_the_address_and_keeps_the_sum():
    pinned = conda.choose(PY312)
    by_variable = conda.Source().choose(PY312, environ={"COLAB_ENV_MINICONDA_MIRROR": "http://mirror/a/"})
    by_argument = conda.Source(mirror="http://b").choose(
        PY312, environ={"COLAB_ENV_MINICONDA_MIRROR": "http://mirror/a/"}
    )
    assert by_variable == dataclasses.replace(pinned, url=f"http://mirror/a/{pinned.name}")
    assert by_argument.url == f"http://b/{pinned.name}"


def test_the_users_own_sum_wins():
    assert conda.Source(sha256="a" * 64).choose(PY312, environ={}).sha256 == "a" * 64


def test_setup_takes_an_installer_of_ones_own(runtime, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(conda_interpreters, "install", lambda source, *_, **__: asked.append(source))
    request = Request.read(
        tmp_path, runtime, source="miniforge", conda_installer="http://x/y.sh", conda_sha256="a" * 64
    ).reread()
    interpreter_sources.source_for(request).ensure(request)
    assert asked == [conda.Source(distribution="miniforge", installer="http://x/y.sh", sha256="a" * 64)]


@pytest.mark.parametrize("source", ["uv", "system"])
def test_an_installer_of_conda_for_another_source_is_refused(runtime, tmp_path, source):
    with pytest.raises(UsageError, match=f"do not go with interpreter='{source}'"):
        Request.read(tmp_path, runtime, source=source, conda_installer="http://x/y.sh", conda_sha256="a" * 64)


def test_an_installer_without_a_sum_is_refused():
    with pytest.raises(UsageError, match=r"http://x/y\.sh comes without its SHA-256"):
        conda.Source(installer="http://x/y.sh").choose(PY312, environ={})


def test_a_sum_that_is_none_is_refused():
    with pytest.raises(UsageError, match="'abc' is not a SHA-256"):
        conda.Source(sha256="abc").choose(PY312, environ={})


@pytest.mark.parametrize(
    "name", ["Miniconda3-py312_26.5.3-1-Linux-x86_64.sh", "Miniconda3-py312_24.9.2-0-Linux-x86_64.sh?x=1"]
)
def test_an_installer_that_by_its_name_brings_another_python_is_refused_before_anything_is_done(name, install, prefix):
    source = conda.Source(installer=f"http://nowhere.invalid/{name}", sha256="a" * 64)
    with pytest.raises(NoSuchPythonError, match=r"brings Python 3\.12 by its name, which does not fit ==3\.11\.\*"):
        install(prefix, source=source, specifier=SpecifierSet("==3.11.*"))
    assert not prefix.exists()
    assert source.choose(PY312, environ={}).python == "3.12"


def test_an_address_without_the_ending_gets_a_name_that_the_installer_takes():
    assert conda.Source(installer="http://x/latest?a=b", sha256="a" * 64).choose(PY312, environ={}).name == "latest.sh"


# Install


def test_it_installs_a_python_that_runs(install, prefix, standin):
    assert install(prefix)
    assert conda.health_check(prefix, specifier=PY312) is None
    assert conda.python_version(prefix) == standin.python
    assert conda.interpreter(prefix) == prefix / "bin/python3.12"


def test_it_skips_what_is_there_and_starts_nothing(install, installed, server, monkeypatch):
    asked = len(server.requests)
    monkeypatch.setattr(subprocess, "Popen", None)
    assert conda.health_check(installed, specifier=PY312) is None
    assert not install(installed)
    assert len(server.requests) == asked


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda prefix: (prefix / "bin/python3.12").unlink(), "python3.12 is gone"),
        (lambda prefix: (prefix / "bin/python3.12").write_text("#!/bin/sh\n"), "was changed"),
        (lambda prefix: (prefix / "bin/python3.12").chmod(0o644), "is gone"),
        (lambda prefix: (prefix / "colab-env.json").unlink(), "has no Miniconda of colab-env"),
        (lambda prefix: shutil.rmtree(prefix / "lib/python3.12/site-packages/conda"), "conda is gone"),
    ],
)
def test_damage_is_named(installed, damage, reason):
    damage(installed)
    assert reason in conda.health_check(installed)


def test_it_heals_a_damaged_installation(install, installed):
    (installed / "bin/python3.12").unlink()
    assert install(installed)
    assert conda.health_check(installed, specifier=PY312) is None


def test_another_python_replaces_the_installation(install, installed, server, other_standin):
    other = conda.Source(installer=f"{server.url}/{other_standin.name}", sha256=other_standin.sha256)
    assert "does not fit ==3.11.*" in conda.health_check(installed, specifier=SpecifierSet("==3.11.*"))
    assert install(installed, source=other, specifier=SpecifierSet("==3.11.*"))
    assert conda.interpreter(installed).name == "python3.11"


def test_environments_that_the_user_made_outlive_another_version(install, installed, server, other_standin):
    (installed / "envs/mine/bin").mkdir(parents=True)
    (installed / "envs/mine/bin/tool").write_text("mine")
    (installed / "envs/mine/bin/alias").symlink_to("tool")
    other = conda.Source(installer=f"{server.url}/{other_standin.name}", sha256=other_standin.sha256)
    assert install(installed, source=other, specifier=SpecifierSet("==3.11.*"))
    assert conda.interpreter(installed).name == "python3.11"
    assert (installed / "envs/mine/bin/alias").read_text() == "mine"


@standin_only
def test_a_failed_upgrade_leaves_the_old_install(install, installed, runtime, standin):
    before = state(installed)
    broken = with_environ(runtime, INSTALLER_STANDIN_FAULT="crash")
    with pytest.raises(InstallerError):
        install(installed, specifier=SpecifierSet(f"!={standin.python}"), machine=broken)
    assert state(installed) == before
    assert [path.name for path in installed.parent.iterdir() if "colab-env" in path.name] == []


def test_a_python_that_turns_out_not_to_fit_is_said_and_removed(install, prefix):
    with pytest.raises(NoSuchPythonError, match=r"brought Python 3.12.\d+, which does not fit ==3.12.99"):
        install(prefix, specifier=SpecifierSet("==3.12.99"))
    assert not prefix.exists()


def test_a_wrong_sum_runs_nothing(install, prefix, source):
    with pytest.raises(HashMismatchError):
        install(prefix, source=dataclasses.replace(source, sha256="0" * 64))
    assert not prefix.exists()


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        ({"INSTALLER_STANDIN_FREE_MB": "70"}, DiskFullError, "Only 70 MB are available"),
        ({"INSTALLER_STANDIN_FAULT": "no-space"}, DiskFullError, "the disk is full"),
        ({"INSTALLER_STANDIN_FAULT": "busy"}, InstallerError, "Text file busy"),
        ({"INSTALLER_STANDIN_FAULT": "crash"}, InstallerError, "exit code 1"),
    ],
)
@standin_only
def test_a_failing_installer_is_explained_and_leaves_nothing(install, prefix, runtime, fault, kind, text):
    with pytest.raises(kind, match=text) as caught:
        install(prefix, machine=with_environ(runtime, **fault))
    assert str(prefix) in caught.value.message
    assert caught.value.hint
    assert not prefix.exists()


def cut(content: bytes, where: str) -> bytes:
    header = content.index(b"@@END_HEADER@@\n", content.index(b"exit 0\n@@END")) + 15
    return {
        "empty": b"",
        "a page": b"<!DOCTYPE html>\n<html><body>(moved)</body></html>\n",
        "in the tool": content[: header + 200],
        "in the payload": content[: len(content) // 2],
        "by one byte": content[:-1],
    }[where]


@standin_only
@pytest.mark.parametrize("where", ["empty", "a page", "in the tool", "in the payload", "by one byte"])
def test_a_damaged_installer_with_a_sum_of_its_own_does_not_count(
    install, prefix, server, standin, standin_site, where
):
    content = cut(standin.path.read_bytes(), where)
    path = standin_site / "www" / f"{where.replace(' ', '-')}.sh"
    path.write_bytes(content)
    damaged = conda.Source(installer=f"{server.url}/{path.name}", sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(InstallerError) as caught:
        install(prefix, source=damaged)
    assert caught.value.hint
    assert not prefix.exists()


@pytest.mark.parametrize("name", ["with space", "with\ttab"])
def test_a_prefix_with_a_space_is_refused_before_the_download(install, tmp_path, server, name):
    with pytest.raises(UsageError, match="has a space"):
        install(tmp_path / name)
    assert server.requests == []


def test_a_prefix_that_is_a_file_is_refused_before_the_download(install, prefix, server):
    prefix.write_text("")
    with pytest.raises(NotWritableError, match=str(prefix)):
        install(prefix)
    assert server.requests == []


def test_a_prefix_that_holds_our_own_data_is_refused(install, runtime):
    with pytest.raises(UsageError, match="holds colab-env's own data"):
        install(runtime.home)


def test_somebody_elses_conda_is_left_alone(install, prefix):
    (prefix / "conda-meta").mkdir(parents=True)
    (prefix / "conda-meta/history").write_text("theirs")
    before = state(prefix)
    with pytest.raises(NotOursError, match="holds a conda that colab-env did not install"):
        install(prefix)
    assert state(prefix) == before


def test_a_directory_with_a_python_of_that_version_is_left_alone(install, prefix, runtime):
    (prefix / "lib/python3.12").mkdir(parents=True)
    (prefix / "lib/python3.12/os.py").write_text("")
    with pytest.raises(NotOursError, match=r"has a Python 3\.12 that colab-env did not install"):
        conda.install(conda.Source(), prefix=prefix, machine=runtime, specifier=PY312)


def test_a_long_prefix_works(install, tmp_path):
    prefix = tmp_path / ("long" * 40) / "miniconda3"
    install(prefix)
    assert conda.health_check(prefix) is None


def child(code: str) -> subprocess.Popen[str]:
    path = [str(Path(__file__).parents[1])]
    head = f"import sys; sys.path[:0] = {path!r}\n"
    head += (
        "from pathlib import Path; from colab_env.miniconda import conda; from colab_env.machine import Host, Machine\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def runtime_code(runtime, **variables: str) -> str:
    fields = {field.name: getattr(runtime, field.name) for field in dataclasses.fields(runtime)}
    fields["environ"] = {**runtime.environ, **variables}
    words = ", ".join(
        f"{name}=Path({str(value)!r})" if isinstance(value, Path) else f"{name}={value!r}"
        for name, value in fields.items()
    )
    return f"Machine({words})"


def install_code(source, prefix, runtime, **variables: str) -> str:
    where = f"Path({str(prefix)!r})"
    return f"conda.install(conda.{source!r}, prefix={where}, machine={runtime_code(runtime, **variables)})"


def wait_for(mark: Path, process: subprocess.Popen[str]) -> None:
    while not mark.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@standin_only
@pytest.mark.parametrize("place", ["prefix", "machine"])
def test_the_stop_button_during_the_installer_leaves_what_was_there(request, source, runtime, tmp_path, place):
    target = request.getfixturevalue(place)
    before = state(target)
    mark = tmp_path / "mark"
    code = install_code(source, target, runtime, INSTALLER_STANDIN_FAULT="half", INSTALLER_STANDIN_MARK=str(mark))
    process = child(code)
    wait_for(mark, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert "KeyboardInterrupt" in errors
    assert state(target) == before


@standin_only
@pytest.mark.parametrize("place", ["prefix", "machine"])
def test_a_killed_installation_is_healed_by_the_next_run(request, install, source, runtime, tmp_path, place):
    target = request.getfixturevalue(place)
    before = state(target)
    mark = tmp_path / "mark"
    process = child(
        install_code(source, target, runtime, INSTALLER_STANDIN_FAULT="half", INSTALLER_STANDIN_MARK=str(mark))
    )
    wait_for(mark, process)
    process.kill()
    process.communicate()
    assert state(target) != before
    assert install(target)
    assert conda.health_check(target, specifier=PY312) is None
    if before:
        _overlay_undo.undo(target, saved=conda.saved_directory(target, runtime))
        assert state(target) == before


def test_of_two_runs_at_once_one_waits_and_finds_it_done(source, prefix, runtime, server):
    code = f"print({install_code(source, prefix, runtime)})"
    processes = [child(code), child(code)]
    answers = sorted(process.communicate(timeout=300)[0] for process in processes)
    assert answers == ["False\n", "True\n"]
    assert conda.health_check(prefix) is None
    assert len(server.requests) == 1


# Over the machine's own directory


def kernel_answers(prefix: Path) -> str:
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import KernelManager

    specs = KernelSpecManager(kernel_dirs=[str(prefix / "share/jupyter/kernels")], ensure_native_kernel=False)
    manager = KernelManager(kernel_name="python3", kernel_spec_manager=specs)
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=300)
        answers: list[str] = []
        client.execute_interactive(
            "import sys; print(sys.executable)",
            timeout=300,
            output_hook=lambda message: answers.append(message["content"].get("text", "")),
        )
        return "".join(answers).strip()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def says(command: Path, runtime) -> str:
    return _process.run([command], environ=runtime.environ).output


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_stock_kernel_and_commands_work_before_during_and_after(install, machine, runtime):
    before = state(machine)
    assert kernel_answers(machine) == sys.executable
    install(machine)
    conda.install_packages(machine, ["jupyter", "google-colab"], machine=runtime)
    assert kernel_answers(machine) == sys.executable
    assert says(machine / "bin/jupyter", runtime) == "jupyter of the machine"
    assert says(machine / "bin/ipython", runtime) == "ipython of the machine"
    assert says(machine / "bin/pip", runtime) == "pip of the machine"
    assert shutil.which("python3", path=runtime.environ["PATH"]) == str(machine.parent / "bin/python3")
    assert says(machine / "bin/jupyter-kernelspec", runtime) == "jupyter-kernelspec of conda"
    assert (machine / "lib/libstandin.so.1").read_text() == "conda's library, first\n"
    assert conda.health_check(machine, specifier=PY312) is None
    _overlay_undo.undo(machine, saved=conda.saved_directory(machine, runtime))
    assert state(machine) == before
    assert kernel_answers(machine) == sys.executable


def test_condas_own_commands_work_beside_the_machines(install, machine, runtime):
    install(machine)
    finished = _process.run([machine / "bin/conda", "--version"], environ=_process.child_environ(runtime.environ))
    assert finished.output == "conda 26.5.3"
    assert str((machine / "bin/python").readlink()) == str(machine.parent / "bin/python3")


@standin_only
def test_a_failed_installation_over_the_machine_restores_it(install, machine, runtime):
    before = state(machine)
    with pytest.raises(InstallerError):
        install(machine, machine=with_environ(runtime, INSTALLER_STANDIN_FAULT="crash"))
    assert state(machine) == before


def test_an_installation_over_the_machine_can_be_healed_and_upgraded(install, machine, runtime, server, other_standin):
    before = state(machine)
    install(machine)
    (machine / "bin/python3.12").unlink()
    assert install(machine)
    other = conda.Source(installer=f"{server.url}/{other_standin.name}", sha256=other_standin.sha256)
    assert install(machine, source=other, specifier=SpecifierSet("==3.11.*"))
    assert conda.interpreter(machine) == machine / "bin/python3.11"
    assert not (machine / "bin/python3.12").exists()
    _overlay_undo.undo(machine, saved=conda.saved_directory(machine, runtime))
    assert state(machine) == before


# Packages


@pytest.fixture
def faults(tmp_path, runtime):
    if REAL:
        pytest.skip("a real conda does not fail when it is asked to: see test_conda_faults")
    path = tmp_path / "faults"

    def faults(*lines: str):
        path.write_text("\n".join(lines))
        return with_environ(runtime, CONDA_STANDIN_FAULTS=str(path))

    return faults


def test_packages_are_installed_and_found_again(installed, runtime):
    assert conda.packages_missing(installed, ["jupyter", "conda-forge::google-colab=1.0"]) == [
        "jupyter",
        "conda-forge::google-colab=1.0",
    ]
    conda.install_packages(installed, ["jupyter"], machine=runtime)
    assert conda.packages_missing(installed, ["jupyter>=1", "google-colab"]) == ["google-colab"]
    assert conda.health_check(installed, specifier=PY312) is None


def test_conda_forges_google_colab_installs_and_does_not_import(installed, runtime):
    conda.install_packages(installed, ["google-colab"], machine=runtime)
    with pytest.raises(CommandError, match="No module named 'imp'"):
        _process.run(
            [conda.interpreter(installed), "-c", "import google.colab"], environ=_process.child_environ(runtime.environ)
        )


@pytest.mark.parametrize(
    ("asked", "is_there"),
    [
        ("numpy", True), ("numpy=1.26", True), ("numpy=1", True), ("numpy=1.2", False), ("numpy==1.26.4", True),
        ("numpy==1.26", False), ("numpy>=1.20,<2", True), ("numpy>=2", False), ("numpy 1.26.*", True), ("numpy=0.1", False),
        ("conda-forge::numpy=1.26=py312_0", True), ("numpy=1.25=py312_0", False), ("python=3.9", False), ("NumPy", True),
        ("openssl=1.1", True), ("numpy[build=x]", True), ("scipy", False),
    ],
)  # fmt: skip
def test_versions_of_packages_count(tmp_path, asked, is_there):
    (tmp_path / "conda-meta").mkdir()
    for name in ("numpy-1.26.4-py312_0", "python-3.12.4-h1_cpython", "openssl-1.1.1w-h7f8727e_0", "history"):
        (tmp_path / "conda-meta" / f"{name}.json").write_text("{}")
    assert (conda.packages_missing(tmp_path, [asked]) == []) is is_there


def test_packages_need_an_installation(prefix, runtime):
    with pytest.raises(MissingStepError):
        conda.install_packages(prefix, ["jupyter"], machine=runtime)


@pytest.mark.parametrize("fault", ["incomplete-read", "http", "checksum"])
def test_a_broken_transfer_is_tried_again(installed, faults, fault):
    waits: list[float] = []
    conda.install_packages(installed, ["jupyter"], machine=faults(fault, fault), sleep=waits.append)
    assert waits == [1, 2]
    assert conda.packages_missing(installed, ["jupyter"]) == []


def test_a_lost_history_is_mended(installed, runtime):
    (installed / "conda-meta/history").unlink()
    conda.install_packages(installed, ["jupyter"], machine=runtime)
    assert conda.packages_missing(installed, ["jupyter"]) == []


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        ("proxy", NetworkError, "proxy"),
        ("unreachable", NetworkError, "cannot be reached"),
        ("ssl", NetworkError, "certificate"),
        ("not-writable", NotWritableError, "may not be written"),
        ("no-space", DiskFullError, "disk is full"),
        ("no-channel", CondaError, "a channel is not there"),
        ("odd", CondaError, "nobody has seen before"),
        ("lost-history", CondaError, "rolled-back"),
    ],
)
def test_a_fault_that_stays_is_explained_and_changes_nothing(installed, faults, fault, kind, text):
    before = state(installed, without="pkgs")
    with pytest.raises(kind, match=text) as caught:
        conda.install_packages(installed, ["jupyter"], machine=faults(fault), sleep=pytest.fail)
    assert str(installed) in caught.value.message
    assert caught.value.hint
    assert '"' not in caught.value.message.splitlines()[-1]
    assert state(installed, without="pkgs") == before


def test_a_transfer_that_stays_broken_ends_after_four_attempts(installed, faults):
    waits: list[float] = []
    with pytest.raises(NetworkError, match="IncompleteRead"):
        conda.install_packages(installed, ["jupyter"], machine=faults(*["incomplete-read"] * 9), sleep=waits.append)
    assert waits == [1, 2, 4]


@pytest.mark.parametrize(
    ("package", "text"), [("no-such-package", "no such package"), ("unfit", "do not fit together")]
)
def test_packages_that_cannot_be_had_are_named(installed, runtime, package, text):
    with pytest.raises(PackageNotFoundError, match=text) as caught:
        conda.install_packages(installed, [package], machine=runtime, sleep=pytest.fail)
    assert package in caught.value.message


@pytest.mark.parametrize("name", ["CI", "GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION", "BUILD_NUMBER"])
def test_terms_of_service_are_never_accepted_for_the_user(installed, runtime, name, defaults):
    on_ci = with_environ(runtime, **{name: "true"})
    with pytest.raises(TermsOfServiceError, match=f"{defaults}/main") as caught:
        conda.install_packages(installed, ["jupyter"], channels=("defaults",), machine=on_ci, sleep=pytest.fail)
    python = installed / "bin/python3.12"
    accept = f"{python} -m conda tos accept --override-channels --channel {defaults}/"
    assert f"{accept}main" in caught.value.hint
    assert f"{accept}r" in caught.value.hint
    assert "channels=('conda-forge',)" in caught.value.hint
    assert "docs" not in caught.value.hint
    assert conda.packages_missing(installed, ["jupyter"])
    with pytest.raises(TermsOfServiceError):  # nor are they from now on
        conda.install_packages(installed, ["jupyter"], channels=("defaults",), machine=runtime, sleep=pytest.fail)


def test_terms_that_the_user_accepted_stop_nothing(installed, runtime, defaults):
    for name in ("main", "r"):
        accept = ["tos", "accept", "--override-channels", "--channel", f"{defaults}/{name}"]
        environ = _process.child_environ(runtime.environ)
        _process.run([installed / "bin/python3.12", "-m", "conda", *accept], environ=environ)
    conda.install_packages(installed, ["jupyter"], channels=("defaults",), machine=runtime)


@pytest.mark.parametrize("place", ["prefix", "machine"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_packages_stopped_half_way_leave_nothing_behind(request, install, runtime, faults, tmp_path, place, how):
    target = request.getfixturevalue("installed" if place == "prefix" else place)
    if place == "machine":
        install(target)
    before = state(target, without="pkgs")
    mark, with_fault = tmp_path / "mark", faults("half")
    variables = {
        "CONDA_STANDIN_FAULTS": with_fault.environ["CONDA_STANDIN_FAULTS"],
        "INSTALLER_STANDIN_MARK": str(mark),
    }
    process = child(
        f"conda.install_packages(Path({str(target)!r}), ['jupyter'], machine={runtime_code(runtime, **variables)})"
    )
    wait_for(mark, process)
    process.send_signal(how)
    process.communicate(timeout=300)
    (target / "pkgs" / "half-downloaded").mkdir()
    if how == signal.SIGKILL:
        assert state(target, without="pkgs") != before
        _overlay.recover(target, saved=conda.saved_directory(target, runtime))
        assert not (target / "pkgs" / "half-downloaded").exists()
    assert state(target, without="pkgs") == before


@pytest.mark.parametrize("place", ["prefix", "machine"])
def test_a_change_that_was_killed_fails_every_check_until_it_is_taken_back(
    request, install, source, runtime, faults, tmp_path, place
):
    target = request.getfixturevalue("installed" if place == "prefix" else place)
    if place == "machine":
        install(target)
    before = state(target, without="pkgs")
    mark, variables = tmp_path / "mark", {"CONDA_STANDIN_FAULTS": faults("half").environ["CONDA_STANDIN_FAULTS"]}
    process = child(
        f"conda.install_packages(Path({str(target)!r}), ['jupyter'],"
        f" machine={runtime_code(runtime, **variables, INSTALLER_STANDIN_MARK=str(mark))})"
    )
    wait_for(mark, process)
    assert "was interrupted, or is going on" in conda.health_check(target)
    process.kill()
    process.communicate(timeout=300)
    assert "was interrupted, or is going on" in conda.health_check(target)
    assert "was interrupted, or is going on" in steps._conda_packages_missing(target, [], runtime)
    # Every step does so first: conda itself may go on, and would end as if nothing were wrong.
    _orphans.end_orphans(tmp_path / "running")
    assert not conda.install(source, prefix=target, specifier=PY312, machine=runtime)
    assert conda.health_check(target, specifier=PY312) is None
    assert state(target, without="pkgs") == before


def test_what_is_taken_back_is_not_written_into_the_ledger(request, install, machine, runtime, faults, tmp_path):
    install(machine)
    mark, variables = tmp_path / "mark", {"CONDA_STANDIN_FAULTS": faults("half").environ["CONDA_STANDIN_FAULTS"]}
    process = child(
        f"conda.install_packages(Path({str(machine)!r}), ['jupyter'],"
        f" machine={runtime_code(runtime, **variables, INSTALLER_STANDIN_MARK=str(mark))})"
    )
    wait_for(mark, process)
    process.kill()
    process.communicate(timeout=300)
    with changing("install_colab_packages", runtime):
        entries = _ledger.Ledger(runtime.data).read().entries
        conda.recover(machine, runtime)
        assert _ledger.Ledger(runtime.data).read().entries == entries


def test_two_package_installations_run_one_after_the_other(installed, runtime):
    running: list[str] = []
    overlaps: list[str] = []
    run = _process.run

    def watched(argv, **options):
        overlaps.extend(running)
        running.append("conda")
        try:
            return run(argv, **options)
        finally:
            running.pop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_process, "run", watched)
        threads = [
            threading.Thread(target=conda.install_packages, args=(installed, [name]), kwargs={"machine": runtime})
            for name in ("jupyter", "google-colab")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert overlaps == []
    assert conda.packages_missing(installed, ["jupyter", "google-colab"]) == []


# The environment of conda's processes


def test_certificates_that_others_trust_are_passed_on():
    environ = _run.conda_environ({"SSL_CERT_FILE": "/a.pem", "CI": "1", "PYTHONPATH": "/env/python"})
    assert environ["CONDA_SSL_VERIFY"] == environ["REQUESTS_CA_BUNDLE"] == "/a.pem"
    assert environ["CI"] == "false"
    assert "PYTHONPATH" not in environ


def test_a_channel_that_cannot_be_reached_is_not_waited_for_long_unless_the_user_says_so():
    environ = _run.conda_environ({"CONDA_REMOTE_MAX_RETRIES": "9"})
    assert (environ["CONDA_REMOTE_CONNECT_TIMEOUT_SECS"], environ["CONDA_REMOTE_MAX_RETRIES"]) == ("3.05", "9")


def test_certificates_that_the_user_chose_are_kept():
    environ = _run.conda_environ({"SSL_CERT_FILE": "/a.pem", "REQUESTS_CA_BUNDLE": "/b.pem"})
    assert environ["REQUESTS_CA_BUNDLE"] == "/b.pem"
    assert "CONDA_SSL_VERIFY" not in environ


def test_every_fault_says_what_to_do():
    for fault in (*INSTALLER_FAULTS, *CONDA_FAULTS):
        assert fault.words
        assert fault.hint
        assert issubclass(fault.kind, ColabEnvError)


def test_text_without_json_is_recognised_too():
    lines = ("# >>>>> ERROR REPORT <<<<<", "CondaHTTPError: HTTP 503 SERVICE UNAVAILABLE")
    assert recognise(CONDA_FAULTS, lines).is_transient


def test_the_receipt_says_what_was_installed(installed, standin):
    receipt = _files.read_receipt(installed)
    assert (receipt["installer"], receipt["sha256"]) == (standin.name, standin.sha256)
    assert json.loads((installed / "colab-env.json").read_text()) == receipt


def test_a_stopped_programs_helpers_have_ended_before_anything_is_put_back(tmp_path, runtime, monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    late = tmp_path / "late"
    monkeypatch.setattr(_report, "line", stop)
    with pytest.raises(KeyboardInterrupt):
        _process.run(["sh", "-c", f"(trap '' TERM; echo go; sleep 0.5; touch {late}) & wait"], environ=runtime.environ)
    assert late.exists()
