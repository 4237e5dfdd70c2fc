"""A sample of the matrix in docs/matrix.md: other Pythons with other IPythons, in each way to switch."""

from __future__ import annotations

import pytest
from boot_faults import VERSIONS, colab
from colab_standin import serving, unavailable
from matrix import outcomes, prepare

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
