"""What was switched comes up whatever is damaged, and says so: some of what `python -m tests.faults boot --all` tries."""

from __future__ import annotations

import pytest
from boot_faults import VERSIONS, machine
from colab_standin import unavailable

from tests.faults.boot import Case, boots

pytestmark = [
    pytest.mark.machine,
    pytest.mark.network,
    pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "available"),
    pytest.mark.skipif(not list(VERSIONS.glob("3.12.*")), reason=f"no Python 3.12 in {VERSIONS}"),
]
DATA = "/root/.local/share/colab-env"
PACKAGES = "/usr/local/lib/python3.11/dist-packages"
CASES = (
    (DATA, "deleted"),
    ("/root/.local/share/jupyter/kernels/py312", "deleted"),
    ("/root/.local/share/jupyter/kernels/py312/kernel.json", "garbage"),
    ("/root/.local/share/jupyter/kernels/py312/kernel.json", "cut in half"),
    ("/content/.venv/pyvenv.cfg", "emptied"),
    ("/content/.venv/bin/python", "garbage"),
    (f"{PACKAGES}/usercustomize.py", "deleted"),
    (f"{PACKAGES}/usercustomize.py", "garbage"),
    (f"{PACKAGES}/usercustomize.py", "cut in half"),
    (f"{PACKAGES}/__pycache__/usercustomize.cpython-311.pyc", "cut in half"),
)


def test_no_damage_keeps_cells_from_running_or_stays_unsaid() -> None:
    with machine("3.12") as prepared:
        packages = prepared.root.run(["sh", "-c", "echo /usr/local/lib/python3*/dist-packages"]).stdout.strip()
        wanted = [Case(path=path.replace(PACKAGES, packages), damage=damage) for path, damage in CASES]
        found = list(boots(prepared, wanted))
    assert [str(boot) for boot in found if boot.problem] == []
    assert len(found) == len(CASES)
    assert any("could not start" in boot.shown for boot in found)
