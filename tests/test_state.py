"""State files: those of the first release are read, damaged ones and newer ones mean "not complete", and steps heal them."""

# ruff: noqa: F811  the fixtures are imported
from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from conda_standin.fixtures import defaults, other_standin, server, standin, standin_site  # noqa: F401
from conda_standin.fixtures import machine as used_directory
from conda_standin.fixtures import runtime as conda_runtime  # noqa: F401
from env_fixtures import base, stable, web, wheels  # noqa: F401
from test_overlay import install_like_conda

import colab_env
from colab_env import _files, choice, diagnose, envs, poetry, steps, switching, undo_changes, uv, venv
from colab_env.errors import KernelTakenError, MissingStepError, NotOursError
from colab_env.interpreter import Interpreter
from colab_env.jupyter import colab_layer, diversion, kernelspec
from colab_env.kernel import ProjectKernel
from colab_env.machine import Machine
from colab_env.miniconda import conda, environment_yml
from colab_env.miniconda._overlay import Manifest, Overlay, Transaction, overlaying, recover
from colab_env.miniconda._overlay_undo import obstacles, undo
from colab_env.named_env import inventory
from colab_env.named_env.inventory import NamedEnvironment
from colab_env.plans import distributions
from colab_env.request import InstallOptions, Request

FIRST = Path(__file__).parent / "first_release"
RECEIPT = "colab-env.json"
machine_in_use = used_directory

# --- files of the first release, and what may happen to them


@dataclass(frozen=True, kw_only=True)
class Old:
    """A machine as the first release left it: its own state files, with other paths, and no real programs."""

    project: Path
    runtime: Machine
    python: Interpreter
    envs: Path

    @property
    def layer(self) -> Path:
        return colab_layer.directory(self.runtime, self.python)

    @property
    def kernel(self) -> Path:
        return kernelspec.directory(self.runtime, "py311")

    def text(self, name: str) -> str:
        text = (FIRST / f"{name}.json").read_text()
        known = {
            "{layer}": self.layer if "{layer}" in text else "",
            "{data}": self.runtime.data,
            "{project}": self.project,
            "{name}": self.project.name,
            "{envs}": self.envs,
            "{package}": Path(colab_env.__file__).parents[1],
            "{machine_python}": self.runtime.machine_python,
            "/usr/bin/": f"{self.python.path.parent}/",
        }
        for word, value in known.items():
            text = text.replace(word, str(value))
        return text

    def file(self, name: str) -> Path:
        return {
            "venv": self.project / ".venv" / RECEIPT,
            "chosen": self.runtime.data / "chosen.json",
            "poetry": self.runtime.data / "poetry" / RECEIPT,
            "layer": self.layer / RECEIPT,
            "machine": self.layer / "site/colab_env/machine.json",
            "kernel": self.kernel / "kernel.json",
            "environment": self.envs / "web" / RECEIPT,
        }[name]

    def write(self, name: str) -> None:
        self.file(name).parent.mkdir(parents=True, exist_ok=True)
        self.file(name).write_text(self.text(name))


@pytest.fixture
def old(home: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Old:
    bin_directory = tmp_path / "usr/bin"
    for name in ("python3", "python3.11"):
        program(bin_directory / name)
    python = Interpreter(path=bin_directory / "python3", version="3.11.2", source="system")
    monkeypatch.setenv("COLAB_ENV_BASE", str(tmp_path / "envs"))
    found = Old(project=project, runtime=Machine.detect(), python=python, envs=tmp_path / "envs")
    shutil.copytree(FIRST / "project", project, dirs_exist_ok=True)
    a_venv(project / ".venv", python.path, json.loads(found.text("venv"))["packages"], visible=True)
    a_venv(found.envs / "web", bin_directory / "python3.11", ["six-1.16.0"], visible=False)
    for entry in json.loads(found.text("layer"))["entries"]:
        (found.layer / "site" / entry).mkdir(parents=True)
    (found.layer / "launch.py").write_text("")
    for name in ("python", "poetry"):
        program(found.runtime.data / "poetry/venv/bin" / name)
    (found.runtime.data / "poetry/venv/lib/python3.11/site-packages/poetry_plugin_export").mkdir(parents=True)
    poetry.write_command(found.runtime)
    (found.runtime.data / "guard").mkdir()
    (found.runtime.data / "guard/guard.py").write_text("")  # its kernels start through this file
    for name in ("venv", "chosen", "poetry", "layer", "machine", "kernel", "environment"):
        found.write(name)
    return found


def program(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def a_venv(path: Path, python: Path, packages: list[str], *, visible: bool) -> None:
    for package in packages:
        (path / "lib/python3.11/site-packages" / f"{package}.dist-info").mkdir(parents=True)
    (path / "bin").mkdir()
    (path / "bin/python").symlink_to(python)
    sees = "true" if visible else "false"
    settings = f"home = {python.parent}\nversion_info = 3.11.2\ninclude-system-site-packages = {sees}\n"
    (path / "pyvenv.cfg").write_text(settings)


Damage = Callable[[Path], object]


def put(content: bytes | str) -> Damage:
    def damage(path: Path) -> None:
        path.unlink()  # it may be a hard link to what other tests use
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return damage


def truncate(path: Path) -> None:
    content = path.read_bytes()
    put(content[: len(content) // 2])(path)


def instead(make: Callable[[Path], object]) -> Damage:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def newer(path: Path) -> None:
    values = json.loads(path.read_text())
    put(json.dumps({"schema": SCHEMAS.get(path), **values, "version": 99, "more": 1}))(path)


class Schemas:
    """The name of a file's schema, where the file, being of the first release, does not say it."""

    def get(self, path: Path) -> str:
        values = json.loads(path.read_text())
        kinds = {
            "wanted": "venv", "entries": "layer", "recipe": "environment", "distribution": "conda", "file": "conda environment",
            "put_back": "overlay", "before": "overlay transaction", "tier": "kernel", "poetry": "poetry",
        }  # fmt: skip
        known = next((kind for key, kind in kinds.items() if key in values), None)
        return known or {"chosen.json": "chosen", "machine.json": "machine"}.get(path.name, "poetry")


SCHEMAS = Schemas()
DAMAGES: dict[str, Damage] = {
    "empty": put(""),
    "no field": put("{}"),
    "a list": put("[1]"),
    "a number": put("5"),
    "null": put("null"),
    "truncated": truncate,
    "binary": put(b"\xff\xfe\0"),
    "nested": put("[" * 100_000),
    "a pipe": instead(os.mkfifo),
    "a directory": instead(Path.mkdir),
}
# A newer kernel.json is Jupyter's: its format has no version of ours.
BROKEN = [
    *((name, how) for name in ("venv", "poetry", "layer", "machine", "kernel", "environment", "chosen") for how in DAMAGES),
    *((name, "newer") for name in ("venv", "poetry", "layer", "machine", "environment", "chosen")),
]  # fmt: skip


def first_by_default(names: Iterable[str]) -> list[Any]:
    """Return the parameters of a test that heals by a whole step: how a file is read, the quick tests above have asked."""
    first, *others = names
    return [first, *(pytest.param(each, marks=pytest.mark.machine) for each in others)]


def fields_of(name: str) -> list[tuple[str, str]]:
    """Return every field of a state file that a value of another type, or its absence, makes unusable."""
    values = json.loads((FIRST / f"{name}.json").read_text())
    inner = {"venv": ("python", "wanted"), "chosen": ("python",), "environment": ("python", "recipe")}.get(name, ())
    return [(name, key) for key in values] + [(name, f"{outer}.{key}") for outer in inner for key in values[outer]]


FIELDS = [each for name in ("venv", "poetry", "layer", "machine", "environment", "chosen") for each in fields_of(name)]
KERNEL_FIELDS = ["argv", "display_name", "env", "metadata", "metadata.colab_env"] + [
    f"metadata.colab_env.{key}" for key in ("project", "tier", "layer")
]
OPTIONAL = {("chosen", "project"), *(("environment", f"recipe.{key}") for key in (
    "python", "packages", "project", "requirements", "wheels", "system_site_packages", "kernel"
))}  # fmt: skip


def change(path: Path, field: str, *values: Any) -> None:
    """Give a field of a JSON file another value, or none."""
    content = json.loads(path.read_text())
    content.pop("sum", None)  # it is of the file as it was
    *outer, key = field.split(".")
    target = content
    for each in outer:
        target = target[each]
    if values:
        target[key] = values[0]
    else:
        del target[key]
    put(json.dumps(content))(path)


def problems(old: Old) -> str:
    """Return everything that is wrong, as `status` and `env list` say it: each in one line."""
    found = [each.problem for each in diagnose.status(old.project).parts if each.problem]
    found += [each.health for each in envs.list_environments() if each.health]
    assert not any("\n" in each for each in found)
    colab_env.kernels()
    return "\n".join(found)


# --- reading


def test_what_the_first_release_left_is_healthy(old):
    assert problems(old) == ""
    assert venv.recorded_python(old.project) == choice.python(old.runtime) == old.python
    assert choice.path(old.runtime, "project") == old.project
    assert poetry.installed_version(old.runtime) == "2.5.1"
    (kernel,) = (each for each in kernelspec.registered(old.runtime) if each.ours)
    assert (kernel.project, kernel.tier, kernel.problem) == (old.project, "plain", None)
    work = ProjectKernel(name="py311", project=old.project, python=old.python, machine=old.runtime)
    # Its start needs a file in the data directory: the next set-up registers it anew, as one that needs none.
    assert "its parts have changed since" in (work.check() or "")
    assert Request.as_recorded(old.project, old.runtime).options == InstallOptions()


def test_a_named_environment_of_the_first_release_is_not_made_again(old, no_children):
    change(old.file("environment"), "recipe.kernel", False)
    asked = inventory.Recipe(packages=("six==1.16.0",), kernel=False)
    change(old.file("environment"), "inputs", asked.digest(Machine.detect()))
    assert not envs.create("web", "six==1.16.0").changed
    captured = json.loads(old.text("environment"))
    assert inventory.Recipe(packages=("six==1.16.0",), kernel=True).digest(Machine.detect()) == captured["inputs"]


def test_tools_and_conda_of_the_first_release_are_recognised(old, tmp_path):
    directory = tmp_path / "uv"
    directory.mkdir()
    (directory / RECEIPT).write_text(old.text("uv"))
    assert uv.Receipt(uv="0.13.8") == colab_env._state.receipt(directory, uv.Receipt)
    prefix = tmp_path / "conda"
    program(prefix / "bin/python3.12")
    (prefix / "bin/python3.12").write_bytes(b"#" * 17600)
    os.utime(prefix / "bin/python3.12", ns=(1_700_000_000_000_000_000,) * 2)
    program(prefix / "lib/python3.12/site-packages/conda/__init__.py")
    (prefix / RECEIPT).write_text(old.text("conda"))
    assert conda.health_check(prefix) is None
    assert conda.is_own(prefix)
    made = tmp_path / "yml"
    program(made / "bin/python3.11")
    (made / RECEIPT).write_text(old.text("conda_environment"))
    (made / "conda-meta").mkdir()
    for name in ("greeting-1.0-h0_0", "python-3.11.7-h0_0"):
        (made / "conda-meta" / f"{name}.json").touch()
    assert environment_yml.health_check(made) is None


def test_an_overlay_of_the_first_release_is_recognised(old, tmp_path):
    (tmp_path / "manifest.json").write_text(old.text("overlay"))
    (tmp_path / "transaction.json").write_text(old.text("overlay_transaction"))
    manifest, transaction = Manifest.read(tmp_path), Transaction.read(tmp_path)
    assert "conda-meta" in manifest.new
    assert manifest.overwritten["lib/libstandin.so.1"].saved == "lib%libstandin.so.1"
    assert transaction.existed
    assert transaction.before["bin/pip"].owner == (0, 0)
    assert transaction.manifest is None


@dataclass(frozen=True, kw_only=True)
class Inner:
    number: int


@dataclass(frozen=True, kw_only=True)
class Every:
    schema: ClassVar[str] = "every"
    version: ClassVar[int] = 2

    path: Path
    maybe: str | None
    several: tuple[str, ...]
    listed: list[int]
    by_name: dict[str, Inner]
    word: Literal["a", "b"]
    share: float
    flag: bool
    anything: Any = None


EVERY = Every(
    path=Path("/x y/ä"), maybe=None, several=("a", "b"), listed=[1], by_name={"k": Inner(number=3)}, word="b", share=1.5,
    flag=True, anything={"x": [None]},
)  # fmt: skip


def test_what_is_written_is_read_again(tmp_path):
    from colab_env import _state

    _state.write(tmp_path / "state.json", EVERY)
    assert _state.read(tmp_path / "state.json", Every) == EVERY
    assert json.loads((tmp_path / "state.json").read_text())["schema"] == "every"
    assert json.loads((tmp_path / "state.json").read_text())["version"] == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path", 1), ("path", "a\0b"), ("path", None), ("maybe", 1), ("maybe", "\ud800"), ("several", "ab"), ("several", [1]),
        ("listed", [True]), ("listed", {"1": 1}), ("listed", [10**30]), ("by_name", {"k": {"number": "3"}}), ("by_name", {"k": {}}),
        ("by_name", []), ("word", "c"), ("word", ["a"]), ("share", "1"), ("share", float("nan")), ("share", 10**400),
        ("share", True), ("flag", 1), ("version", 3), ("version", "2"), ("version", True), ("version", -1), ("version", None),
        ("schema", "other"), ("schema", None),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_no_state(tmp_path, field, value):
    from colab_env import _state

    _state.write(tmp_path / "state.json", EVERY)
    change(tmp_path / "state.json", field, value)
    assert _state.read(tmp_path / "state.json", Every) is None
    assert "state.json" in _state.fault(tmp_path / "state.json", Every)


def test_an_older_version_and_unknown_fields_are_read(tmp_path):
    from colab_env import _state

    _state.write(tmp_path / "state.json", EVERY)
    change(tmp_path / "state.json", "version", 1)
    change(tmp_path / "state.json", "more", 1)
    change(tmp_path / "state.json", "anything")
    assert _state.read(tmp_path / "state.json", Every).path == EVERY.path


def test_a_file_that_is_not_there_has_no_fault(tmp_path):
    from colab_env import _state

    assert _state.read(tmp_path / "state.json", Every) is None
    assert _state.fault(tmp_path / "state.json", Every) is None


# --- damage is named


@pytest.mark.parametrize(("name", "how"), BROKEN)
def test_status_names_a_damaged_file_and_never_fails(old, name, how):
    file = old.file(name)
    if name == "kernel":
        registered_by_this_release(old)
    (newer if how == "newer" else DAMAGES[how])(file)
    assert file.name in problems(old)
    assert ("newer" in problems(old)) is (how == "newer")


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_status_names_a_file_with_a_field_of_another_type(old, name, field):
    change(old.file(name), field, 1.5 if field != "created" else "today")
    assert f"{old.file(name).name} is damaged" in problems(old)


@pytest.mark.parametrize(("name", "field"), [each for each in FIELDS if each not in OPTIONAL])
def test_status_names_a_file_without_one_of_its_fields(old, name, field):
    change(old.file(name), field)
    assert f"{old.file(name).name} is damaged" in problems(old)


@pytest.mark.parametrize("version", ["", "three", "3", "3.x", "3.11.2; x"])
@pytest.mark.parametrize("name", ["venv", "chosen", "environment"])
def test_a_version_that_is_none_is_damage(old, name, version):
    change(old.file(name), "python.version", version)
    assert f"{old.file(name).name} is damaged" in problems(old)


@pytest.mark.parametrize("field", KERNEL_FIELDS)
@pytest.mark.parametrize("gone", [False, True])
def test_status_names_a_kernel_with_a_bad_field(old, field, gone):
    registered_by_this_release(old)
    change(old.kernel / "kernel.json", field, *([] if gone else [1.5]))
    assert "kernel.json is damaged" in problems(old)
    with pytest.raises(MissingStepError):
        colab_env.check_kernel("py311")


def registered_by_this_release(old: Old) -> None:
    kernelspec.write(old.runtime, "py311", json.loads(old.text("kernel")))
    assert problems(old) == ""


@pytest.mark.parametrize("how", [each for each in DAMAGES if each not in ("empty", "no field", "null")])
def test_a_kernel_s_damaged_receipt_is_made_good_by_its_kernel_json(old, how):
    registered_by_this_release(old)
    DAMAGES[how](old.kernel / RECEIPT)
    assert problems(old) == ""


def test_a_truncated_kernel_of_the_first_release_is_ours(old):
    truncate(old.kernel / "kernel.json")
    assert "no kernel is registered for this project" in problems(old)
    kernelspec.check_free(old.runtime, "py311", old.project)
    kernelspec.write(old.runtime, "py311", json.loads(old.text("kernel")))
    assert problems(old) == ""


def test_a_kernel_that_somebody_wrote_over_ours_is_theirs(old):
    registered_by_this_release(old)
    (old.kernel / "kernel.json").write_text('{"argv": ["mine"], "display_name": "Mine", "language": "python"}')
    assert "no kernel is registered for this project" in problems(old)
    with pytest.raises(KernelTakenError):
        kernelspec.check_free(old.runtime, "py311", old.project)
    assert not undo_changes._is_ours(old.kernel)


@pytest.mark.parametrize("how", DAMAGES)
def test_undo_knows_our_directories_by_damaged_marks_too(old, how):
    registered_by_this_release(old)
    DAMAGES[how](old.kernel / "kernel.json")
    DAMAGES[how](old.file("venv"))
    assert undo_changes._is_ours(old.kernel)
    assert undo_changes._is_ours(old.project / ".venv")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"# Made by colab-env"])
def test_a_launcher_of_any_bytes_is_read(colab, content):
    launcher = colab.colab_packages / "colab_kernel_launcher.py"
    launcher.write_bytes(content)
    if content.startswith(b"#"):
        with pytest.raises(NotOursError):
            diversion.remove_shim(colab)
    else:
        assert not diversion.remove_shim(colab)


def test_the_first_release_s_shim_gives_way_to_the_original(colab):
    launcher = colab.colab_packages / "colab_kernel_launcher.py"
    original = launcher.read_bytes()
    launcher.with_name(launcher.name + ".colab-env-original").write_bytes(original)
    launcher.write_text(f"# Made by colab-env: …\n# {hashlib.sha256(original).hexdigest()}\n")
    diversion.write(colab, diversion.Choices(default=diversion.Choice(name="py312", kernel=Path("/x/kernel.json"))))
    assert launcher.read_bytes() == original
    assert sorted(path.name for path in colab.colab_packages.glob("*.*") if "ipykernel" not in path.name) == [
        "colab_kernel_launcher.py",
        "usercustomize.py",
    ]


@pytest.fixture
def colab(tmp_path):
    """Colab's directory of packages, in which this Python looks at its start."""
    packages = tmp_path / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "dist-packages"
    packages.mkdir(parents=True)
    (packages / "ipykernel").mkdir()
    for name in ("colab_kernel_launcher.py", "ipykernel_launcher.py"):
        (packages / name).write_text("print('the stock kernel')\n")
    (packages / "ipykernel/kernelapp.py").write_text("class IPKernelApp: start = None\n")
    return replace(Machine.detect(), colab_packages=packages)


@pytest.mark.parametrize("kernel", ["[1]", '{"argv": 5}', '{"argv": [5]}', "[" * 100_000, "5", None])
def test_the_stock_kernel_starts_for_a_damaged_kernel(colab, tmp_path, kernel):
    if kernel is not None:
        (tmp_path / "kernel.json").write_text(kernel)
    chosen = diversion.Choice(name="py312", kernel=tmp_path / "kernel.json")
    diversion.write(colab, diversion.Choices(default=chosen))
    done = start_stock(colab)
    assert done.stdout == "the stock kernel\n"
    assert "The kernel 'py312' could not start: " in done.stderr


@pytest.mark.parametrize("content", [b"", b"# caf\xe9\nimport mine\n", b"import mine\n"])
def test_somebody_else_s_usercustomize_stays(colab, content):
    file = colab.colab_packages / "usercustomize.py"
    file.write_bytes(content)
    chosen = diversion.Choice(name="py312", kernel=Path("/x/kernel.json"))
    assert diversion.usable_file(colab) is None
    for choices in (diversion.Choices(default=chosen), diversion.Choices()):
        diversion.write(colab, choices)
        assert file.read_bytes() == content


@pytest.mark.parametrize(
    "damage", [lambda file: file.write_bytes(b""), lambda file: file.write_bytes(b"\xff\xfe"), instead(Path.mkdir)]
)
def test_a_damaged_usercustomize_of_ours_is_written_anew(colab, damage):
    file, chosen = (
        colab.colab_packages / "usercustomize.py",
        diversion.Choice(name="py312", kernel=Path("/x/kernel.json")),
    )
    diversion.write(colab, diversion.Choices(default=chosen))
    damage(file)
    assert diversion.read(colab) == diversion.Choices()
    diversion.write(colab, diversion.Choices(default=chosen))
    assert diversion.read(colab).default == chosen
    diversion.write(colab, diversion.Choices())
    assert not file.exists()


def start_stock(colab: Machine, **variables: str) -> subprocess.CompletedProcess[str]:
    """Start the stock kernel as Colab does, on a Python without an environment."""
    python = Path(sys.base_prefix) / "bin/python3"
    argv = [python, "-m", "colab_kernel_launcher", "-f", "/x/kernel-1.json"]
    environ = {**os.environ, "PYTHONPATH": str(colab.colab_packages), **variables}
    return subprocess.run(argv, env=environ, capture_output=True, text=True, check=True)


def identity(path: Path) -> tuple[int, ...]:
    """Return what stays as long as nobody changes a file; reading one changes when it was read last."""
    status = path.stat()
    return status.st_ino, status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns


@pytest.mark.parametrize("how", DAMAGES)
def test_somebody_else_s_damaged_kernel_is_passed_over_and_stays(old, how):
    place = old.kernel.with_name("theirs")
    place.mkdir()
    (place / "kernel.json").write_text('{"argv": ["r", 1], "display_name": 5, "metadata": [1]}')
    DAMAGES[how](place / "kernel.json")
    before = identity(place / "kernel.json")
    assert problems(old) == ""
    with pytest.raises(NotOursError):
        kernelspec.write(old.runtime, "theirs", json.loads(old.text("kernel")))
    assert identity(place / "kernel.json") == before


@pytest.mark.parametrize(
    "spec", ['{"argv": 5, "metadata": 7}', '{"display_name": [], "argv": [1], "metadata": {"colab_env": 5}}']
)
def test_somebody_else_s_odd_kernel_is_listed(old, spec):
    place = old.kernel.with_name("odd")
    place.mkdir()
    (place / "kernel.json").write_text(spec)
    assert "odd" in repr(colab_env.kernels())


@pytest.mark.parametrize("content", [b"\xff\xfe", b"home\0 = x", b"", b"home = \0\n", b"version = 3"])
def test_a_damaged_pyvenv_cfg_is_named(old, content):
    (old.project / ".venv/pyvenv.cfg").write_bytes(content)
    assert "pyvenv.cfg is damaged" in problems(old)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_what_is_no_pyvenv_cfg_is_none(old, make):
    instead(make)(old.project / ".venv/pyvenv.cfg")
    assert "there is no virtual environment" in problems(old)


@pytest.mark.parametrize("note", ["[1]", "5", '{"url": 5}', "null", "["])
def test_a_notebook_server_s_odd_note_is_passed_over(old, note):
    directory = old.runtime.jupyter / "runtime"
    directory.mkdir(parents=True)
    (directory / "jpserver-1.json").write_text(note)
    assert list(switching._servers(old.runtime)) == []


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"Name: x\nVersion: 1\nRequires-Dist: \xff\n", b"\0"])
def test_a_distribution_with_damaged_metadata_is_none(tmp_path, content):
    (tmp_path / "x-1.dist-info").mkdir()
    if content is not None:
        (tmp_path / "x-1.dist-info/METADATA").write_bytes(content)
    assert set(distributions.read([tmp_path])) <= {"x"}


# --- and healed

EVERY_DAMAGE = [*DAMAGES, "newer"]
HEALED = ["no field", "newer"]  # what takes ten seconds is healed of these two


def damage(how: str, file: Path) -> None:
    (newer if how == "newer" else DAMAGES[how])(file)


@pytest.mark.parametrize("how", EVERY_DAMAGE)
def test_install_python_heals_the_choice(pythons, how):
    first = steps.install_python(pythons[0].version, interpreter="system")
    damage(how, Machine.detect().data / "chosen.json")
    healed = steps.install_python(pythons[0].version, interpreter="system")
    assert healed.changed
    assert healed.python == first.python == choice.python(Machine.detect())


@pytest.mark.network
@pytest.mark.parametrize("how", first_by_default(["newer", *DAMAGES]))
def test_configure_venv_heals_its_receipt(filled, machine, how):
    damage(how, filled / ".venv" / RECEIPT)
    healed = steps.configure_venv(filled, python=machine.python, system_site_packages=False)
    assert RECEIPT in healed.reason
    assert not (filled / ".venv.old").exists()
    again = steps.configure_venv(filled, python=machine.python, system_site_packages=False)
    assert not again.changed


@pytest.mark.network
@pytest.mark.parametrize("content", [b"\xff\xfe", b"home = \0\n"])
def test_configure_venv_heals_pyvenv_cfg(filled, machine, content):
    put(content)(filled / ".venv/pyvenv.cfg")
    healed = steps.configure_venv(filled, python=machine.python, system_site_packages=False)
    assert "pyvenv.cfg is damaged" in healed.reason
    assert not (filled / ".venv.old").exists()


@pytest.mark.network
@pytest.mark.parametrize("how", HEALED)
@pytest.mark.parametrize("file", [RECEIPT, "site/colab_env/machine.json"])
def test_a_damaged_file_of_the_layer_is_named(machine, file, how):
    layer = colab_layer.directory(Machine.detect(), machine.python)
    assert colab_layer.health_check(layer) is None
    damage(how, layer / file)
    assert Path(file).name in colab_layer.health_check(layer)


@pytest.mark.machine
@pytest.mark.network
@pytest.mark.parametrize("how", HEALED)
@pytest.mark.parametrize("file", [RECEIPT, "site/colab_env/machine.json"])
def test_install_colab_packages_heals_the_layer(machine, file, how):
    layer = colab_layer.directory(Machine.detect(), machine.python)
    damage(how, layer / file)
    healed = steps.install_colab_packages()
    assert Path(file).name in healed.reason
    assert colab_layer.health_check(layer) is None


@pytest.fixture
def poetry_home(built_machine, machine):
    """Poetry's directory with nothing but its receipt: this test's own."""
    home = machine.data / "poetry"
    home.unlink()
    home.mkdir()
    (home / RECEIPT).write_text((built_machine.data / "poetry" / RECEIPT).read_text())
    return home


@pytest.mark.network
@pytest.mark.parametrize("how", ["a list", "newer"])
def test_a_damaged_receipt_of_poetry_is_named(poetry_home, how):
    assert RECEIPT not in poetry.health_check(Machine.detect(), version=None)
    damage(how, poetry_home / RECEIPT)
    assert RECEIPT in poetry.health_check(Machine.detect(), version=None)


@pytest.mark.machine
@pytest.mark.network
@pytest.mark.parametrize("how", ["a list", "newer"])
def test_install_poetry_heals_its_receipt(poetry_home, how):
    damage(how, poetry_home / RECEIPT)
    healed = steps.install_poetry()
    assert RECEIPT in healed.reason
    assert poetry.health_check(Machine.detect(), version=None) is None


@pytest.mark.network
@pytest.mark.parametrize("how", first_by_default(DAMAGES))
def test_register_kernel_heals_kernel_json(filled, how):
    first = steps.register_kernel("lesson", project=filled)
    damage(how, first.where / "kernel.json")
    healed = steps.register_kernel("lesson", project=filled)
    assert "kernel.json is damaged" in healed.reason
    assert not steps.register_kernel("lesson", project=filled).changed


@pytest.mark.network
@pytest.mark.parametrize("how", EVERY_DAMAGE)
def test_create_heals_a_named_environment(web, wheels, how):
    damage(how, web / RECEIPT)
    (info,) = envs.list_environments()
    assert RECEIPT in info.health
    assert envs.create("web", "demo", wheels=wheels).changed
    assert not envs.create("web", "demo", wheels=wheels).changed


@pytest.mark.network
@pytest.mark.parametrize("how", HEALED)
def test_a_named_environment_with_a_damaged_receipt_can_be_purged(web, how):
    damage(how, web / RECEIPT)
    envs.purge("web")
    assert not web.exists()


# --- conda


@pytest.fixture
def conda_source(server, standin) -> conda.Source:
    return conda.Source(installer=f"{server.url}/{standin.name}", sha256=standin.sha256)


@pytest.mark.parametrize("how", first_by_default(["newer", "no field", "a list", "truncated"]))
@pytest.mark.parametrize("shared", [False, True])
def test_install_heals_conda_s_receipt(how, shared, conda_source, conda_runtime, machine_in_use, tmp_path):
    prefix = machine_in_use if shared else tmp_path / "miniconda3"
    conda.install(conda_source, prefix=prefix, machine=conda_runtime)
    damage(how, prefix / RECEIPT)
    assert RECEIPT in conda.health_check(prefix)
    assert conda.install(conda_source, prefix=prefix, machine=conda_runtime)
    assert conda.health_check(prefix) is None
    assert conda.is_own(prefix) is not shared
    assert (machine_in_use / "bin/pip").read_text().endswith("print('pip of the machine')\n")


@pytest.mark.parametrize("how", EVERY_DAMAGE)
def test_undo_says_that_it_cannot_read_what_conda_brought(machine_in_use, tmp_path, how):
    saved = tmp_path / "saved"
    with overlaying(machine_in_use, saved=saved):
        install_like_conda(machine_in_use)
    damage(how, saved / "manifest.json")
    assert "manifest.json" in obstacles(machine_in_use, saved=saved)["."]
    assert undo(machine_in_use, saved=saved) is None
    assert (saved / "originals").is_dir()
    with pytest.raises(NotOursError, match=r"manifest\.json"), overlaying(machine_in_use, saved=saved):
        pass


@pytest.mark.parametrize("how", EVERY_DAMAGE)
def test_the_originals_of_a_transaction_that_cannot_be_read_are_kept(machine_in_use, tmp_path, how):
    saved = tmp_path / "saved"
    overlay = Overlay(machine_in_use, saved=saved)
    saved.mkdir()
    overlay.begin()  # and no more, as a kill leaves it
    kept = sorted(path.name for path in (saved / "transaction").iterdir())
    damage(how, saved / "transaction.json")
    assert not recover(machine_in_use, saved=saved)
    assert sorted(path.name for path in (saved / "aside-0/transaction").iterdir()) == kept
    with overlaying(machine_in_use, saved=saved):
        install_like_conda(machine_in_use)
    assert "aside-0" in obstacles(machine_in_use, saved=saved)["."]


def test_conda_s_own_damaged_records_are_passed_over(tmp_path):
    (tmp_path / "conda-meta").mkdir()
    for number, text in enumerate(("[1]", '{"files": 5}', '{"files": [1]}', "", "[" * 100_000)):
        (tmp_path / f"conda-meta/google-colab-{number}.json").write_text(text)
    assert conda.hides_google(tmp_path) is None


def test_a_pipe_is_no_json(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert _files.read_json(tmp_path / "pipe") is None


def test_an_environment_without_a_name_s_receipt_is_nobody_s(old):
    (old.envs / "web" / RECEIPT).unlink()
    place = NamedEnvironment(name="web", base=old.envs)
    assert not place.is_ours()
    assert place.health_check() == inventory.NOT_OURS
