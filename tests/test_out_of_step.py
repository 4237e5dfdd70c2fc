"""What a lock file lacks of what its project asks for is named, and nothing else is."""

from __future__ import annotations

import pytest

from colab_env import out_of_step, poetry
from colab_env.errors import LockMismatchError

LOCKED = {"six": ["1.16.0"], "httpx": ["0.27.2"], "numpy": ["1.24.4", "2.1.0"], "from-git": []}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        *(("six", wanted) for wanted in ("", "*", "1.16.0", "==1.16.0", "^1.0", "~1.16", "~=1.15", ">=1, <2", "what?")),
        *(("Httpx", wanted) for wanted in ("^0.27.0", "<0.27 || ^0.27", ">=0.27,<0.28", "0.27.*")),
        *(("numpy", wanted) for wanted in ("<2", "^2.0")),
        ("from_git", "^9.0"),
    ],
)
def test_what_fits_is_no_difference(name, wanted):
    assert out_of_step.described([(name, wanted)], LOCKED) == ""


@pytest.mark.parametrize(
    ("name", "wanted", "difference"),
    [
        ("rich", "*", "rich is not in it"),
        ("six", "^2.0", "it has six 1.16.0, asked for is ^2.0"),
        ("six", "1.15.0", "it has six 1.16.0, asked for is 1.15.0"),
        ("numpy", ">=3", "it has numpy 1.24.4 and 2.1.0, asked for is >=3"),
    ],
)
def test_what_does_not_fit_is_named(name, wanted, difference):
    assert out_of_step.described([("six", "*"), (name, wanted), (name, wanted)], LOCKED) == difference


def test_of_many_differences_the_first_are_named():
    asked = [(f"p{number}", "*") for number in range(9)]
    assert out_of_step.described(asked, {}) == "p0 is not in it; p1 is not in it; p2 is not in it; and 6 more"


@pytest.mark.parametrize("dependencies", ["six = 3", "six = {version = 4}", "six = [1]", 'six = "^2.0"'])
@pytest.mark.parametrize("lock", ['[[package]]\nname = "six"\n', "package = 3\n", 'package = ["x"]\n', "[[package"])
def test_what_cannot_be_compared_still_gives_poetrys_reason(tmp_path, dependencies, lock):
    (tmp_path / "pyproject.toml").write_text(f"[tool.poetry.dependencies]\n{dependencies}\n")
    (tmp_path / "poetry.lock").write_text(lock)
    output = "pyproject.toml changed significantly since poetry.lock was last generated."
    kind, message, _ = poetry._cause(output, tmp_path)
    assert kind is LockMismatchError
    assert message.endswith(": what it was made for has changed, and no package shows it")
