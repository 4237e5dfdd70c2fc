"""environment.yml: conda makes an environment from it, and the project's kernel sees what is in it."""

# ruff: noqa: F811  the fixtures are imported
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conda_standin import Server, add_python, build_channel, build_installer, find_python
from conda_standin.fixtures import standin_site  # noqa: F401
from conftest import PreparedMachine
from packaging.specifiers import SpecifierSet
from small_wheels import write_wheel

import colab_env
from colab_env import choice, diagnose, planning, setting_up, steps, undoing, venv
from colab_env.errors import (
    BuildError,
    ColabEnvError,
    CondaError,
    MissingStepError,
    NetworkError,
    NoSuchPythonError,
    PackageNotFoundError,
    ProjectFileError,
    TermsOfServiceError,
    UsageError,
)
from colab_env.interpreter import Interpreter
from colab_env.locks import registry
from colab_env.locks.lock_format import LockFile
from colab_env.machine import Machine
from colab_env.miniconda import conda, environment_yml
from colab_env.miniconda.environment_yml import CondaEnvironment
from colab_env.request import Request
from colab_env.snapshot import signing

ANY = SpecifierSet()
FILE = "name: lesson\nchannels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - greeting=1.0\n"


@dataclass(frozen=True, kw_only=True)
class Base:
    """A Miniconda of the stand-in, with Python 3.12; its channel has Python `python`, of 3.11."""

    prefix: Path
    python: str


@pytest.fixture(scope="session")
def built_base(standin_site: Path) -> Base:
    channel = build_channel(standin_site / "channel-of-environments", short="3.11")
    version = add_python(channel, find_python("3.11"))
    standin = build_installer(standin_site / "www-of-environments", channel=channel, python=find_python("3.12"))
    prefix = standin_site / "base-of-environments"
    home = {"HOME": str(standin_site / "home-of-environments"), "PATH": os.environ["PATH"]}
    with Server(standin.path.parent) as server:
        source = conda.Source(installer=f"{server.url}/{standin.name}", sha256=standin.sha256)
        conda.install(source, prefix=prefix, machine=Machine.detect(home))
    return Base(prefix=prefix, python=version)


@pytest.fixture
def base(built_base: Base, tmp_path: Path) -> Base:
    prefix = tmp_path / "miniconda3"
    subprocess.run(["cp", "-a", built_base.prefix, prefix], check=True)
    return replace(built_base, prefix=prefix)


@pytest.fixture
def runtime(home: Path) -> Machine:
    return Machine.detect()


def write(project: Path, text: str = FILE) -> LockFile:
    path = project / "environment.yml"
    path.write_text(text)
    return registry.find(project)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("# platform: win-64\nnumpy=1.26.3=py311hdab7c0b_0\npython=3.11.7=he1021f5_0\n", "`conda list --export`"),
        (
            f"{FILE}  - python=3.10.13=he1021f5_0\nprefix: C:\\Users\\me\\envs\\swarm\n",
            "Windows: no channel has its build he1021f5_0 of Python 3.10.13 for this one",
        ),
        (
            f"{FILE}  - python=3.7.3=h359304d_0\nprefix: /Users/me/miniconda3/envs/a\n",
            "macOS: no channel has its build",
        ),
    ],
)
def test_what_conda_cannot_install_here_is_said_before_anything_is_downloaded(project, text, reason):
    write(project, text)
    with pytest.raises(ProjectFileError, match=reason) as caught:
        setting_up.setup(project=project, interpreter="miniconda")
    assert "--from-history" in caught.value.hint
    assert sorted(path.name for path in project.iterdir()) == ["environment.yml"]


@pytest.mark.parametrize(
    "text",
    [
        f"{FILE}prefix: C:\\Users\\me\\envs\\swarm\n",  # without builds, it may do for any system
        f"{FILE}  - python=3.10.13=he1021f5_0\nprefix: /home/me/envs/swarm\n",
        f"{FILE}  - python=3.10.13=he1021f5_0\n",
    ],
)
def test_what_conda_may_have_for_this_system_is_left_to_conda(project, text):
    lock = write(project, text)
    lock.format.check_content(lock)


def work_on(project: Path, runtime: Machine, text: str = FILE) -> CondaEnvironment:
    return CondaEnvironment(
        project=project,
        file=(lock := write(project, text)).path,
        digest=lock.digest,
        distribution="miniconda",
        machine=runtime,
    )


def made(runtime: Machine) -> list[str]:
    return sorted(path.name for path in (runtime.data / "conda-envs").glob("*"))


def in_kernel(code: str) -> str:
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="py311", startup_timeout=300)
    said: list[str] = []
    try:
        hook = lambda message: said.append(message["content"].get("text", ""))  # noqa: E731
        client.execute_interactive(code, timeout=300, output_hook=hook)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return "".join(said).strip()


@pytest.mark.machine
@pytest.mark.network
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_kernel_sees_what_environment_yml_says_and_follows_it(
    machine: PreparedMachine, base, project, tmp_path, monkeypatch
):
    def setup(**options):
        return setting_up.setup(interpreter="miniconda", project=project, prefix=base.prefix, **options)

    cache = tmp_path / "drive"
    cache.mkdir()
    before = {path for path in base.prefix.rglob("*") if "__pycache__" not in path.parts}
    write(project)
    result = setup()
    python = result.steps[0].python
    assert python.version == base.python
    assert [each.step for each in result.steps] == [
        *("install_python", "install_colab_packages", "configure_venv", "register_kernel"),
    ]
    assert "Packages from environment.yml" in result.steps[2].notes
    assert {path.name for path in project.iterdir()} == {".venv", "environment.yml"}
    assert in_kernel("import greeting, sys; print(greeting.version, sys.prefix)") == f"1.0 {project / '.venv'}"
    assert in_kernel("!greet") == "hello"
    assert venv.packages(project) == 1  # pip
    assert {path for path in base.prefix.rglob("*") if "__pycache__" not in path.parts} == before
    assert not (Path.home() / ".conda").exists()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", lambda *words, **_: pytest.fail(f"started {words}"))
        assert {each.action for each in setup().steps} == {"already there"}

    write(project, FILE.replace("1.0", "no-such-version"))
    with pytest.raises(PackageNotFoundError, match="greeting"):
        setup()
    assert in_kernel("import greeting; print(greeting.version)") == "1.0"

    write(project, FILE.replace("1.0", "2.0"))
    assert not diagnose.status(project).ok
    setup(cache=cache)
    assert in_kernel("import greeting; print(greeting.version)") == "2.0"
    assert diagnose.status(project).ok
    assert len(made(Machine.detect())) == 1

    # Another machine, without conda: the snapshot has all of it, and the key is kept as Colab's secrets keep it.
    monkeypatch.setenv(signing.VARIABLE, colab_env.cache_key().key)
    for place in (project / ".venv", machine.data, base.prefix):
        shutil.rmtree(place)
    restored = setup(cache=cache)
    assert restored.steps[0].step == "restore"
    assert restored.steps[1].action == "already there"
    assert in_kernel("import greeting; print(greeting.version)") == "2.0"

    assert undoing.undo().complete
    assert not machine.data.exists()
    assert {path.name for path in project.iterdir()} == {"environment.yml"}


def test_each_step_by_itself_does_the_same(base, project, runtime, monkeypatch):
    """configure_venv lets conda make what install_miniconda could not know of."""
    write(project)
    choice.remember(runtime, conda.python(base.prefix, "miniconda"), prefix=base.prefix)
    python = steps.python_for(Request.read(project, runtime), None)
    assert python.path == work_on(project, runtime).prefix / "bin/python3.11"
    assert choice.python(runtime) == python
    monkeypatch.setattr(CondaEnvironment, "build", lambda *_: pytest.fail("it is there"))
    assert steps.python_for(Request.read(project, runtime), None) == python
    assert steps.python_for(Request.read(project, runtime), python) == python


def test_another_project_does_not_get_the_python_of_environment_yml(base, project, runtime, tmp_path):
    work = work_on(project, runtime)
    work.build(base.prefix, ANY)
    choice.remember(runtime, work.interpreter(), prefix=base.prefix)
    other = tmp_path / "other"
    other.mkdir()
    assert steps.python_for(Request.read(other, runtime), None) == conda.python(base.prefix, "miniconda")


@pytest.mark.parametrize("channels", ["", "channels: [defaults]\n", "channels:\n  - conda-forge\n  - defaults # too\n"])
def test_nobody_accepts_the_terms_of_a_channel(base, project, runtime, channels):
    work = work_on(
        project, replace(runtime, environ={**runtime.environ, "CI": "true"}), f"{channels}dependencies: [x]\n"
    )
    with pytest.raises(TermsOfServiceError, match=r"https://repo\.anaconda\.com/pkgs/main") as caught:
        work.build(base.prefix, ANY, sleep=pytest.fail)
    assert "name channels in environment.yml that ask for nothing" in caught.value.hint
    assert f"{base.prefix}/bin/python3.12 -m conda tos accept" in caught.value.hint
    assert not (base.prefix / "accepted-terms").exists()
    assert made(runtime) == []


def test_a_build_that_is_gone_comes_with_how_a_file_without_builds_is_made(base, project, runtime):
    work = work_on(project, runtime, "channels: [conda-forge]\ndependencies:\n  - python=3.11.1=h123_0\n")
    with pytest.raises(PackageNotFoundError, match=r"environment\.yml") as caught:
        work.build(base.prefix, ANY, sleep=pytest.fail)
    assert "--from-history" in caught.value.hint


@pytest.mark.parametrize(
    ("dependencies", "asked", "kind", "text"),
    [
        ("  - python=3.11\n", "==3.12.*", NoSuchPythonError, r"makes Python 3\.11\.\d+, and 3\.12 is asked for"),
        ("  - python=3.10\n", "", PackageNotFoundError, "python"),
        ("  - ipykernel\n", "", CondaError, "no Python among its dependencies"),
        ("  - unfit\n", "", PackageNotFoundError, "do not fit together"),
        ("nonsense: 1\n", "", ProjectFileError, "conda cannot read the file"),
        ("  - python=3.11\n  - pip:\n    - ./absent\n", "", BuildError, "absent"),
    ],
)
def test_what_cannot_be_made_is_explained_and_leaves_nothing(base, project, runtime, dependencies, asked, kind, text):
    work = work_on(project, runtime, f"channels: [conda-forge]\ndependencies:\n{dependencies}")
    with pytest.raises(kind, match=text) as caught:
        work.build(base.prefix, SpecifierSet(asked), sleep=pytest.fail)
    assert "environment.yml" in caught.value.message
    assert caught.value.hint
    assert made(runtime) == []
    assert [path.name for path in project.iterdir()] == ["environment.yml"]


def test_a_python_that_contradicts_what_is_there_is_an_error_too(base, project, runtime):
    work = work_on(project, runtime)
    work.build(base.prefix, ANY)
    assert work.check(SpecifierSet("==3.11.*")) is None
    with pytest.raises(NoSuchPythonError, match=r"write|asked for"):
        work.check(SpecifierSet(">=3.12"))


def test_pips_section_is_installed_from_beside_the_file(base, project, runtime):
    write_wheel(project / "wheels", "small", "1.0")
    pip = "  - pip:\n    - --no-index\n    - ./wheels/small-1.0-py3-none-any.whl\n"
    work = work_on(project, runtime, FILE + pip)
    work.build(base.prefix, ANY)
    code = "import small, greeting; print(small.version, greeting.version)"
    done = subprocess.run([work.interpreter().path, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1.0 1.0\n"


def test_a_broken_transfer_is_tried_again_in_an_empty_directory(base, project, runtime, tmp_path):
    faults = tmp_path / "faults"
    faults.write_text("incomplete-read\nlost-history\n")
    work = work_on(project, replace(runtime, environ={**runtime.environ, "CONDA_STANDIN_FAULTS": str(faults)}))
    waits: list[float] = []
    with pytest.raises(CondaError, match="rolled-back"):
        work.build(base.prefix, ANY, sleep=waits.append)
    faults.write_text("http\nhttp\n")
    work.build(base.prefix, ANY, sleep=waits.append)
    assert waits == [1, 1, 2]
    assert work.check(ANY) is None
    faults.write_text("http\n" * 9)
    shutil.rmtree(work.prefix)
    with pytest.raises(NetworkError):
        work.build(base.prefix, ANY, sleep=waits.append)
    assert work.check(ANY) is not None


def test_a_damaged_environment_is_made_again_and_comes_back_when_that_fails(base, project, runtime, interrupt):
    work = work_on(project, runtime)
    work.build(base.prefix, ANY)
    record = next((work.prefix / "conda-meta").glob("greeting-*.json"))
    record.unlink()
    assert "packages are gone" in work.check(ANY)
    there = made(runtime)
    interrupt("LINK")
    with pytest.raises(KeyboardInterrupt):
        work.build(base.prefix, ANY)
    assert made(runtime) == there
    assert work.interpreter().path.is_file()


def test_a_changed_file_or_one_that_pip_reads_is_another_environment(project, runtime):
    text = FILE + '  - pip:\n    - -r more.txt\n    - "-c limits.txt"\n'
    seen = [work_on(project, runtime, text).prefix]
    for name in ("more.txt", "limits.txt"):
        (project / name).write_text("six\n")
        seen.append(work_on(project, runtime, text).prefix)
    seen.append(work_on(project, runtime, text + "# new\n").prefix)
    (project / "other.txt").write_text("six\n")
    assert work_on(project, runtime, text + "# new\n").prefix == seen[-1]
    assert len(set(seen)) == 4


def test_only_what_no_program_runs_from_is_removed(base, project, runtime, tmp_path):
    others = tmp_path / "other"
    others.mkdir()
    work_on(others, runtime).build(base.prefix, ANY)
    old, new = work_on(project, runtime), work_on(project, runtime, FILE + "# new\n")
    write(project)
    old_prefix = old.prefix
    old.build(base.prefix, ANY)
    write(project, FILE + "# new\n")
    new.build(base.prefix, ANY)
    (runtime.data / "conda-envs" / "somebodys").mkdir()
    code = "print('ready', flush=True); input()"
    argv = [old_prefix / "bin/python3.11", "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout.readline() == "ready\n"
        environment_yml.remove_others(project, new.interpreter().path, runtime)
        assert old_prefix.is_dir()
        program.communicate("\n")
    environment_yml.remove_others(project, new.interpreter().path, runtime)
    assert made(runtime) == sorted([new.prefix.name, work_on(others, runtime).prefix.name, "somebodys"])


@pytest.mark.parametrize(
    ("text", "channels"),
    [
        (FILE, ["conda-forge"]),
        ("channels: [conda-forge, 'bioconda']\n", ["conda-forge", "bioconda"]),
        ("channels:\n# why\n- https://x.org/a#b\n\n-  nodefaults # no\nname: x\n", ["https://x.org/a#b"]),
        ("channels: [conda-forge,\n  defaults]\n", []),
        ("dependencies:\n  - channels: \n", []),
        ("", []),
    ],
)
def test_the_channels_are_those_that_the_file_names(text, channels):
    assert environment_yml.named_channels(text) == channels


@pytest.mark.parametrize("named", [True, False])
def test_what_a_user_made_of_defaults_counts_where_the_file_names_them(project, runtime, named):
    own = replace(runtime, environ={**runtime.environ, "CONDA_DEFAULT_CHANNELS": "https://mirror/main"})
    text = "channels: [defaults]\n" if named else "channels: [conda-forge]\n"
    expected = "https://mirror/main" if named else "conda-forge"
    assert work_on(project, own, text)._environ()["CONDA_DEFAULT_CHANNELS"] == expected


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"interpreter": "system"}, "needs conda"),
        ({"interpreter": "uv"}, "needs conda"),
        ({"system_site_packages": False}, "system_site_packages=False does not go with"),
        ({"keep": ["numpy"]}, "keep does not go with"),
        ({"extras": ["x"]}, "has no extras"),
        ({"installer": "poetry"}, "Poetry does not install"),
    ],
)
def test_what_does_not_go_with_conda_is_refused_before_anything_is_done(project, runtime, options, text):
    write(project)
    with pytest.raises(UsageError, match=text) as caught:
        setting_up.setup(**{"interpreter": "miniconda", "project": project, "prefix": project / "prefix", **options})
    assert caught.value.hint
    assert [path.name for path in project.iterdir()] == ["environment.yml"]
    assert choice.python(runtime) is None


def test_a_plan_says_that_only_conda_knows(base, project, runtime):
    write(project)
    with pytest.raises(UsageError, match="known when conda has installed it"):
        planning.plan(interpreter="miniconda", project=project, prefix=base.prefix)


def test_without_the_environment_its_python_is_a_missing_step(project, runtime):
    with pytest.raises(MissingStepError, match="not made yet"):
        work_on(project, runtime).interpreter()


def test_a_file_that_is_named_counts_beside_another(project, runtime):
    write(project).path.rename(project / "env-dev.yaml")
    (project / "requirements.txt").write_text("six\n")
    with pytest.raises(UsageError, match=r"env-dev\.yaml needs conda"):
        steps.install_python(interpreter="system", project=project, lock="env-dev.yaml")
    python = Interpreter(path=Path(sys.executable), version="3.11.2", source="system")
    choice.remember(runtime, python)
    with pytest.raises(ColabEnvError, match=r"env-dev\.yaml needs conda"):
        steps.configure_venv(project, lock="env-dev.yaml")
    assert venv.recorded_python(project) is None
