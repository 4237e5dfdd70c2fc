"""A sample of the matrix in docs/matrix.md: other Pythons with other IPythons, in each way to switch."""

from __future__ import annotations

import pytest
from boot_faults import VERSIONS, colab
from colab_standin import serving, unavailable
from matrix import outcomes, prepare, with_rows

SAMPLE = [("3.11", "9.18.1", "session"), ("3.12", "8.39.0", "exec"), ("3.13", "9.18.1", "restart")]


@pytest.mark.machine
@pytest.mark.network
@pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "available")
@pytest.mark.parametrize(("python", "ipython", "how"), SAMPLE)
def test_a_notebook_has_every_feature_on_the_python_and_the_ipython_of_its_project(
    python: str, ipython: str, how: str
) -> None:
    if not list(VERSIONS.glob(f"{python}.*")):
        pytest.skip(f"no Python {python} in {VERSIONS}")
    with colab() as root:
        kernel = prepare(root, python, ipython)
        with serving(root) as server:
            ((_, outcome),) = outcomes(server, kernel, (how,))
    assert kernel.tier == "full"
    assert (outcome.ipython, outcome.failed) == (ipython, ())


def test_what_was_tried_again_replaces_its_own_rows_and_no_others() -> None:
    page = "Text.\n\n| Python | way |\n|---|---|\n| 3.9 | x | a | 1 |\n| 3.12 | x | a | 1 |\n\nA note: | 3.9 |\n"
    rows = ["| 3.9 | x | a | 2 |", "| 3.13 | x | a | 2 |", "| 3.9 | x | b | 2 |", "| 3.8 | x | a | 2 |"]
    assert with_rows(page, rows) == (
        "Text.\n\n| Python | way |\n|---|---|\n| 3.8 | x | a | 2 |\n| 3.9 | x | a | 2 |\n| 3.9 | x | b | 2 |\n"
        "| 3.12 | x | a | 1 |\n| 3.13 | x | a | 2 |\n\nA note: | 3.9 |\n"
    )
