"""What a notebook on Colab can do, it can do on another Python: the features of `tests/features`, on the small stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from boot_faults import VERSIONS, PreparedMachine, colab, set_up
from colab_standin import serving, unavailable

from tests.features.catalogue import FEATURES
from tests.features.trial import WAYS, Outcome, furnish, opened, outcome, table

VERSION = "3.12"
SLOW = 0.3  # seconds; `python -m tests.features` waits for 7


def test_the_features_are_many_and_each_is_named_once() -> None:
    names = [each.name for each in FEATURES]
    assert len(names) == len({*names}) >= 96
    assert {name for each in FEATURES if each.asks for name in each.asks.answers} == {
        "good",
        "slow",
        "refused",
        "error",
    }


def test_the_table_says_with_which_answer_a_feature_fails() -> None:
    secret, value = (
        next(each for each in FEATURES if each.name == name) for name in ("secret", "value of the last line")
    )
    found = Outcome(way="stock", problems={secret.name: {"good": None, "slow": "late"}, value.name: {"": "no"}})
    lines = table({"stock": found, "exec": Outcome(way="exec")}, (secret, value))
    assert "| secret | not slow | - |" in lines
    assert "| value of the last line | no | - |" in lines
    assert lines[-1] == "| **together** | 0 of 2 | 0 of 0 |"


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, Outcome]]:
    if not list(VERSIONS.glob(f"{VERSION}.*")):
        pytest.skip(f"no Python {VERSION} in {VERSIONS}")
    with colab() as root:
        furnish(root)
        set_up(root, VERSION)
        with serving(root) as server, ThreadPoolExecutor(len(WAYS)) as pool:
            machine = PreparedMachine(root=root, server=server, kernel="py" + VERSION.replace(".", ""))
            yield {each.way: each for each in pool.map(lambda way: _tried(machine, way), WAYS)}


def _tried(machine: PreparedMachine, way: str) -> Outcome:
    with opened(machine, way) as notebook:
        return outcome(notebook, way, slow=SLOW)


@pytest.mark.machine
@pytest.mark.network
@pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "available")
@pytest.mark.parametrize("way", WAYS)
def test_a_notebook_can_what_it_can_on_the_machines_own_python(way: str, outcomes: dict[str, Outcome]) -> None:
    failed = {name: answers for name, answers in outcomes[way].problems.items() if any(answers.values())}
    assert failed == {}
    assert len(outcomes[way].problems) > 75
