"""What was switched comes up whatever is damaged, and says so: some of what `python -m tests.faults boot --all` tries."""

from __future__ import annotations

import pytest
from boot_faults import VERSIONS, machine
from colab_standin import unavailable

from tests.faults.boot import Boot, Case, Row, boots, counted, with_table, written

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


@pytest.mark.machine
@pytest.mark.network
@pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "available")
@pytest.mark.skipif(not list(VERSIONS.glob("3.12.*")), reason=f"no Python 3.12 in {VERSIONS}")
def test_no_damage_keeps_cells_from_running_or_stays_unsaid() -> None:
    with machine("3.12") as prepared:
        packages = prepared.root.run(["sh", "-c", "echo /usr/local/lib/python3*/dist-packages"]).stdout.strip()
        wanted = [Case(path=path.replace(PACKAGES, packages), damage=damage) for path, damage in CASES]
        found = list(boots(prepared, wanted))
    assert [str(boot) for boot in found if boot.problem] == []
    assert len(found) == len(CASES)
    assert any("could not start" in boot.shown for boot in found)


def test_the_rest_of_a_sample_is_added_to_the_table_of_its_beginning() -> None:
    deleted, garbage = Case(path="/a", damage="deleted"), Case(path="/a", damage="garbage")
    first = counted(
        [Boot(case=deleted, lost=1, seconds=9.04, shown="could not start"), Boot(case=garbage, seconds=1.0)]
    )
    rest = counted([Boot(case=deleted, seconds=2.0), Boot(case=deleted, is_bricked=True)])
    page = with_table("# Faults\n", first, sample="--count 2 --seed 7", every=9)
    before = written(page, sample="--count 2 --seed 7", every=9)
    assert before["garbage"] == Row(paths=1, silent=1, seconds=1.0)
    rows = {damage: before[damage] + row for damage, row in rest.items()}
    assert rows["deleted"] == Row(paths=3, bricked=1, lost=1, silent=1, seconds=9.0)
    page = with_table(page, rows, sample="--count 4 --seed 7", every=9)
    assert page.count("## Every file") == 1
    assert "4 of 9 cases" in page
    assert written(page, sample="--count 4 --seed 7", every=9) == rows
    for sample, every in (("--count 2 --seed 7", 9), ("--count 4 --seed 7", 10)):
        with pytest.raises(ValueError, match="not that of"):
            written(page, sample=sample, every=every)
