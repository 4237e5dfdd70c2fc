"""The report about a machine says what is wrong, changes nothing, and tells no secret."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import colab_env
from colab_env import cli, machine_report
from colab_env.machine import Machine


@pytest.fixture
def kernels(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Jupyter directory of the user's own, and no other kernels."""
    place = home / "jupyter"
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(place))
    monkeypatch.setattr(sys, "prefix", str(home))  # the kernel of whoever runs these tests
    return place / "kernels"


def register(kernels: Path, name: str, argv: list[str]) -> None:
    (kernels / name).mkdir(parents=True)
    spec = {"argv": argv, "display_name": name.title(), "language": "python"}
    (kernels / name / "kernel.json").write_text(json.dumps(spec))


def problems(report: machine_report.Report) -> dict[str, str]:
    return {part.name: part.problem for part in report.parts if part.problem}


def test_a_machine_on_which_nothing_happened_is_fine_and_stays_so(kernels: Path, home: Path) -> None:
    before = sorted(home.rglob("*"))
    report = colab_env.doctor()
    assert report.ok, repr(report)
    assert repr(report).endswith("✓ Nothing wrong was found")
    assert sorted(home.rglob("*")) == before
    assert report.changed == ()


def test_every_kernel_is_started_and_what_is_wrong_names_its_remedy(kernels: Path) -> None:
    register(kernels, "good", [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])
    register(kernels, "dead", [sys.executable, "-c", "raise SystemExit('no ipykernel here')", "{connection_file}"])
    register(kernels, "gone", ["/nowhere/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"])
    register(kernels, "other", ["R", "--slave", "{connection_file}"])
    report = colab_env.doctor()
    found = {part.what.split()[0]: part for part in report.parts if part.name == "Kernel"}
    assert found["good"].problem is None
    assert "no ipykernel here" in str(found["dead"].problem)
    assert found["gone"].problem == "/nowhere/bin/python is gone: jupyter kernelspec remove gone"
    assert "other" not in found, "no mark for what was not tried"
    assert report.untried == ("other",)
    assert "Kernels that were not tried: other" in repr(report)


def test_an_odd_kernelspec_is_a_finding_and_what_a_kernel_prints_holds_no_secret(kernels: Path) -> None:
    log = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--logfile", "/tmp/not-yet-there.log"]
    register(kernels, "log", log)
    register(kernels, "odd", [sys.executable, "-m", "ipykernel_launcher", "{connection_file}"])
    (kernels / "odd/kernel.json").write_text(
        json.dumps({**json.loads((kernels / "odd/kernel.json").read_text()), "env": ["A=1"]})
    )
    says = "import os; print(os.environ['MINE'], 'PGPASS=hunter2', 'ghp_hunter2hunter2', 'my_token: hunter2'); raise SystemExit(1)"
    register(kernels, "says", [sys.executable, "-c", says, "ipykernel", "{connection_file}"])
    spec = json.loads((kernels / "says/kernel.json").read_text())
    (kernels / "says/kernel.json").write_text(json.dumps({**spec, "env": {"MINE": "hunter2-hunter2"}}))
    report = colab_env.doctor()
    found = {part.what.split()[0]: part.problem for part in report.parts if part.name == "Kernel"}
    assert "could not be tried" in str(found["odd"])
    assert "*** PGPASS=*** *** my_token: ***" in str(found["says"])
    assert "hunter2" not in json.dumps(report.as_dict())
    assert "gone" not in str(found["log"])


def test_a_damaged_state_file_and_interrupted_changes_are_named(kernels: Path) -> None:
    machine = Machine.detect()
    machine.data.mkdir(parents=True)
    (machine.data / "chosen.json").write_text("{")
    (machine.data / "saved/x").mkdir(parents=True)
    (machine.data / "saved/x/transaction.json").write_text("{}")
    machine.data.with_name(f".{machine.data.name}.colab-env-doomed").mkdir()
    found = problems(colab_env.doctor())
    assert "chosen.json" in found["Notes"]
    assert "interrupted" in found["conda"]
    assert "call undo again" in found["undo"]


def test_variables_are_named_and_their_values_are_not(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://ada:hunter2@index.example/hunter2/simple?token=hunter2")
    monkeypatch.setenv("UV_PUBLISH_TOKEN", "hunter2")
    monkeypatch.setenv("PYTHONHOME", "/hunter2")
    monkeypatch.setenv("PYTHONPATH", "/env/python")  # as on every Colab machine
    report = machine_report.Report(parts=tuple(machine_report._looked_at(Machine.detect())), changed=())
    text = repr(report) + json.dumps(report.as_dict())
    assert "UV_PUBLISH_TOKEN" in text
    assert "hunter2" not in text
    assert problems(report)["Variables"].startswith("PYTHONHOME is set: ")
    assert "PYTHONPATH" not in problems(report)["Variables"]


def test_what_cannot_be_looked_at_is_a_finding(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(_: Machine) -> None:
        raise TypeError("the disk is on fire")

    assert [part.problem for part in machine_report._guarded(look, Machine.detect())] == [
        "TypeError: the disk is on fire"
    ]


def test_the_module_that_another_distribution_brings_too_is_named(
    kernels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "colab_env-0.2.dist-info").mkdir()
    (tmp_path / "colab_env-0.2.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: colab-env\nVersion: 0.2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (part,) = machine_report._package(Machine.detect())
    assert "pip uninstall colab-env" in str(part.problem)


def test_the_commands_end_with_1_when_something_is_wrong(kernels: Path, capsys: pytest.CaptureFixture) -> None:
    register(kernels, "gone", ["/nowhere/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"])
    assert cli.main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert cli.main(["doctor", "--quiet"]) == 1
    assert cli.main(["status", "--quiet"]) == 0
    assert cli.main(["status", "--quiet", "--exit-code"]) == 1


def test_the_function_stays_what_it_is(kernels: Path) -> None:
    code = "import colab_env; colab_env.doctor; import colab_env.machine_report; assert callable(colab_env.doctor)"
    subprocess.run([sys.executable, "-c", code], check=True)
