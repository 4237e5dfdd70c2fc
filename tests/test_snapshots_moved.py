"""A snapshot is the same in another directory, home or account: what names its paths is rewritten, and nothing else is."""

# ruff: noqa: F401, F811
# Fixtures of test_snapshots are used by their names.

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import PreparedMachine, _move_in
from small_wheels import write_wheel
from test_snapshots import archive_in, cache, hand_made, kept_key, problem_of, rewrite

import colab_env
from colab_env import _files, _state, choice, content, venv
from colab_env.errors import SnapshotError
from colab_env.interpreter import Interpreter
from colab_env.jupyter import colab_layer
from colab_env.machine import Machine
from colab_env.snapshot import contents, signing
from colab_env.snapshot.manifest import Manifest
from colab_env.snapshot.moving import Move


def project_pair(old: str, new: str, *more: tuple[str, str]) -> Move:
    return Move(pairs=(*more, (old, new)), project=(old, new))


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("#!/content/.venv/bin/python\n", "#!/w/a/.venv/bin/python\n"),
        ("export VIRTUAL_ENV='/content/.venv'", "export VIRTUAL_ENV='/w/a/.venv'"),
        ('{"url": "file:///content"}', '{"url": "file:///w/a"}'),
        ("/content/src", "/w/a/src"),
        ("PATH=/bin:/content/x", "PATH=/bin:/w/a/x"),
        ("in /content.", "in /w/a."),
        ("/contents /content-old /content.old /content2", "/contents /content-old /content.old /content2"),
        ("https://a.example/content/x ./content /my/content", "https://a.example/content/x ./content /my/content"),
    ],
)
def test_a_path_is_rewritten_where_it_is_a_path_of_its_own(text: str, moved: str) -> None:
    move = project_pair("/content", "/w/a")
    assert move.texts({"venv/x": text.encode()}) == {"venv/x": moved.encode()}
    assert move.concerns("venv", text.encode()) == (text != moved)
    assert move.texts({"layer/x": text.encode()}) == {"layer/x": text.encode()}, "the kernel's packages name no project"


def test_the_longest_path_counts_and_a_link_moves_too() -> None:
    move = project_pair("/home/a/lesson", "/work", ("/home/a/lesson/.data/layers/cp1", "/d/layers/cp2"))
    assert move.path("/home/a/lesson/.data/layers/cp1/site") == "/d/layers/cp2/site"
    assert (move.path("/home/a/lesson"), move.path("/home/a/lesson2"), move.path("../x")) == (
        "/work",
        "/home/a/lesson2",
        "../x",
    )


def test_checksums_of_what_is_rewritten_follow(tmp_path: Path) -> None:
    environment, info = tmp_path / "old/.venv", "lib/python3.12/site-packages/six-1.dist-info"
    (environment / info).mkdir(parents=True)
    (environment / "bin").mkdir()
    program = f"#!{environment}/bin/python\n"
    (environment / "bin/six").write_text(program)
    row = f"{content.digest_of(program.encode())},{len(program)}"
    (environment / info / "RECORD").write_text(f"../../../bin/six,{row}\nsix-1.dist-info/RECORD,,\n")
    (environment / "pyvenv.cfg").write_text(f"command = {environment}\n")
    content.write(environment, content.Survey(environment).content({}))
    names = ["bin/six", f"{info}/RECORD", "pyvenv.cfg", content.FILE]
    old, new = str(tmp_path / "old"), str(tmp_path / "another")
    moved = project_pair(old, new).texts(
        {f"venv/{name}": (environment / name).read_bytes() for name in reversed(names)}
    )
    shutil.move(old, new)
    for name in names:
        (Path(new) / ".venv" / name).write_bytes(moved[f"venv/{name}"])
    there = content.read(Path(new) / ".venv")
    assert there is not None
    survey = content.Survey(Path(new) / ".venv")
    assert survey.differences(there) == []
    assert survey.broken() == {}


def test_what_was_damaged_stays_damaged(tmp_path: Path) -> None:
    file = tmp_path / "machine.json"
    _state.write(file, colab_layer.Origin(python=Path("/usr/bin/python3"), path=Path("/old/lib")))
    sealed = file.read_bytes()
    move = project_pair("/old", "/other")
    file.write_bytes(move.texts({"venv/x": sealed})["venv/x"])
    assert _state.read(file, colab_layer.Origin).path == Path("/other/lib")
    file.write_bytes(move.texts({"venv/x": sealed.replace(b"python3", b"python4")})["venv/x"])
    assert _state.read(file, colab_layer.Origin) is None


# --- the whole way


def live_in(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir(exist_ok=True)
    key = os.environ[signing.VARIABLE]
    _move_in(home, {}, monkeypatch)
    monkeypatch.setenv(signing.VARIABLE, key)


def uv_python(home: Path, like: Interpreter) -> Interpreter:
    """Make a directory as uv makes it; the program in it starts a real Python."""
    base = home / ".local/share/uv/python"
    real, named = (base / f"cpython-{word}-linux-x86_64-gnu" for word in (like.version, like.short_version))
    (real / "bin").mkdir(parents=True)
    (real / "bin/python3").write_text(f'#!/bin/sh\nexec {like.path} "$@"\n')
    (real / "bin/python3").chmod(0o755)
    (real / "lib").mkdir()
    (real / "lib/_sysconfigdata.py").write_text(f"prefix = '{real}'\n")
    named.symlink_to(real.name)
    return Interpreter(path=named / "bin/python3", version=like.version, source="uv")


def furnish(project: Path, python: Interpreter) -> None:
    """Make what real packages and tools leave, and write down what there is."""
    environment, layer = project / ".venv", colab_layer.directory(Machine.detect(), python)
    site = next(environment.glob("lib/python3*/site-packages"))
    (site / "_editable.pth").write_text(f"{project}/src\n")
    (site / "finder.py").write_text(f"WHERE = '{project}/src'\n")
    (environment / "bin/six").write_text(f"#!{environment}/bin/python\n")
    (environment / "bin/six").chmod(0o755)
    (environment / "bin/tool").write_bytes(b"\0" + os.fsencode(project))  # a program out of a wheel says anything
    for place in (environment, layer):
        kept = _files.read_receipt(place)
        content.write(place, content.Survey(place).content({}))
        assert kept is not None


@pytest.mark.parametrize("source", ["uv", "system"])
def test_the_same_lock_in_another_directory_and_home_is_the_same_snapshot(
    project: Path,
    pythons: list[Interpreter],
    tmp_path: Path,
    cache: Path,
    source: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = tmp_path / "ada", tmp_path / "grace"
    live_in(first, monkeypatch)
    python = uv_python(first, pythons[0]) if source == "uv" else pythons[0]
    made = hand_made(project, python)
    furnish(made, python)
    saved = colab_env.save(cache)
    files = {name: (made / name).read_bytes() for name in ("pyproject.toml", "poetry.lock")}
    other = second / "work/exercise"
    shutil.move(made, tmp_path / "gone")
    shutil.move(first, tmp_path / "gone too")
    live_in(second, monkeypatch)
    other.mkdir(parents=True)
    for name, text in files.items():
        (other / name).write_bytes(text)
    colab_env.restore(cache, project=other)
    there = venv.recorded_python(other)
    assert there == choice.python(Machine.detect())
    assert there is not None
    assert (there.path.is_relative_to(second), there.path.is_file()) == (source == "uv", True)
    assert (other / ".venv/bin/python").resolve() == there.path.resolve()
    assert problem_of(other) is None
    layer = colab_layer.directory(Machine.detect(), there)
    assert colab_layer.health_check(layer) is None
    for place in (other / ".venv", layer):
        assert content.Survey(place).differences(content.read(place)) == []
    named = [path for path in (*other.rglob("*"), *second.rglob("*")) if path.is_file() and not path.is_symlink()]
    told = [path for path in named if any(os.fsencode(old) in path.read_bytes() for old in (made, first))]
    assert {path.name for path in told if path.suffix != ".pyc"} == {"tool"}  # Python puts a moved source in by itself
    assert (other / ".venv/bin/six").read_text() == f"#!{other}/.venv/bin/python\n"
    assert os.access(other / ".venv/bin/six", os.X_OK)
    (other / ".venv/colab-env-untried").unlink()
    again = colab_env.save(cache, project=other)
    assert (again.action, again.name) == ("already there", saved.name)


def test_a_module_that_is_rewritten_is_not_run_from_its_old_compiled_file(
    project: Path,
    pythons: list[Interpreter],
    tmp_path: Path,
    cache: Path,
) -> None:
    made = hand_made(project, pythons[0])
    furnish(made, pythons[0])
    os.utime(next(made.glob(".venv/lib/python3*/site-packages/finder.py")), (1e9, 1e9))
    asking = "import finder; print(finder.WHERE)"

    def where(at: Path) -> str:
        site = next(at.glob(".venv/lib/python3*/site-packages"))
        argv = [pythons[0].path, "-c", asking]
        done = subprocess.run(argv, env={"PYTHONPATH": str(site)}, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert where(made) == f"{made}/src"
    colab_env.save(cache)
    other = made.with_name("lessox")  # of the same length
    made.rename(other)
    shutil.rmtree(other / ".venv")
    colab_env.restore(cache, project=other)
    assert where(other) == f"{other}/src"


REASONS = {
    "a binary": (
        lambda environment: (environment / "data").write_bytes(b"\0" + os.fsencode(environment)),
        "is no text",
    ),
    "a twin": (lambda environment: os.link(environment / "pyvenv.cfg", environment / "twin"), "another file too"),
    "older": (lambda environment: (environment / content.FILE).unlink(), "an older colab-env made"),
}


@pytest.mark.parametrize("case", REASONS)
def test_what_cannot_move_is_for_its_own_paths_and_says_why(
    project: Path,
    pythons: list[Interpreter],
    cache: Path,
    case: str,
) -> None:
    made = hand_made(project, pythons[0])
    change, reason = REASONS[case]
    (made / ".venv/pyvenv.cfg").write_text((made / ".venv/pyvenv.cfg").read_text() + f"command = {made}\n")
    if case != "older":
        change(made / ".venv")
    furnish(made, pythons[0])
    if case == "older":
        change(made / ".venv")
    colab_env.save(cache)
    (shown,) = colab_env.cache_list(cache).snapshots
    assert shown.problem is None
    described = _description(archive_in(cache))
    assert reason in str(described.fixed)
    other = made.with_name("other")
    made.rename(other)
    shutil.rmtree(other / ".venv")
    with pytest.raises(SnapshotError, match=f"it was made for the project {made}; it does not move: .*{reason}"):
        colab_env.restore(cache, project=other)
    other.rename(made)
    colab_env.restore(cache, project=made)
    assert problem_of(made) is None


def test_a_path_that_a_script_cannot_name_is_no_place_to_move_to(
    project: Path,
    pythons: list[Interpreter],
    cache: Path,
) -> None:
    made = hand_made(project, pythons[0])
    furnish(made, pythons[0])
    colab_env.save(cache)
    other = made.with_name("my lesson")
    made.rename(other)
    shutil.rmtree(other / ".venv")
    with pytest.raises(SnapshotError, match="my lesson' is a path that scripts cannot name"):
        colab_env.restore(cache, project=other)
    assert not (other / ".venv").exists()


def test_one_of_the_first_format_is_taken_at_its_own_paths_only(
    project: Path,
    pythons: list[Interpreter],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = hand_made(project, pythons[0])
    furnish(made, pythons[0])
    with monkeypatch.context() as patch:
        patch.setattr(contents, "FORMAT", 1)
        patch.setattr(contents, "identity", _first_identity)
        colab_env.save(cache)
    shutil.rmtree(made / ".venv")
    colab_env.restore(cache, project=made)
    other = made.with_name("other")
    made.rename(other)
    shutil.rmtree(other / ".venv")
    with pytest.raises(SnapshotError):
        colab_env.restore(cache, project=other)


@pytest.mark.parametrize("named", ["lib/nothing", "../x", "bin/python", "lib"])
def test_a_file_that_is_not_there_is_not_rewritten(
    project: Path,
    pythons: list[Interpreter],
    cache: Path,
    named: str,
) -> None:
    made = hand_made(project, pythons[0])
    furnish(made, pythons[0])
    colab_env.save(cache)
    sign = signing.Keyring(Machine.detect()).signing()[0].sign
    rewrite(archive_in(cache), change=lambda found: found["texts"]["venv"].append(named), sign=sign)
    assert not colab_env.cache_verify(cache).ok
    other = made.with_name("other")
    made.rename(other)
    shutil.rmtree(other / ".venv")
    with pytest.raises(SnapshotError, match="damaged"):
        colab_env.restore(cache, project=other)
    assert sorted(path.name for path in other.iterdir()) == ["poetry.lock", "pyproject.toml"]


@pytest.mark.network
def test_a_real_project_moves_with_its_kernel(
    machine: PreparedMachine,
    project: Path,
    tmp_path: Path,
    home: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wheel = write_wheel(tmp_path / "wheels", "demo", "1.0", code="def main(): print('demo')\n", programs=["demo"])
    (project / "requirements.txt").write_text(f"--find-links {wheel.parent}\ndemo==1.0\n")
    subprocess.run(["git", "init", "-q", project], check=True)
    asked = {"interpreter": "system", "kernel": "lesson", "system_site_packages": False, "cache": cache}
    colab_env.setup(machine.python.version, project=project, **asked)
    other, second = tmp_path / "elsewhere/exercise", tmp_path / "grace"
    other.parent.mkdir()
    shutil.rmtree(project / ".venv")
    project.rename(other)
    live_in(second, monkeypatch)
    result = colab_env.setup(machine.python.version, project=other, **asked)
    changed = {step.step for step in result.steps if step.changed}
    assert changed == {"restore", "register_kernel"}, result
    assert colab_env.check_kernel("lesson").ok
    assert colab_env.verify(other).ok
    status = subprocess.run(["git", "status", "--porcelain"], cwd=other, capture_output=True, text=True, check=True)
    assert ".venv" not in status.stdout
    said = subprocess.run([other / ".venv/bin/demo"], capture_output=True, text=True, check=True).stdout
    assert said == "demo\n"
    texts = [path for path in (other / ".venv").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert [path for path in texts if os.fsencode(project) in path.read_bytes()] == []
    assert len([*cache.glob("*.tar.zst")]) == 1


def _first_identity(known) -> dict[str, object]:
    return {name: value for name, value in vars(known).items() if name != "pythons"}


def _description(path: Path) -> Manifest:
    from colab_env.snapshot import manifest

    with path.open("rb") as file:
        return Manifest.read(json.loads(manifest.read_footer(file).text)["manifest"])
