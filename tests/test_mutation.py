"""What `python -m tests.mutation` changes, and that each line of its table still is in the module."""

from __future__ import annotations

import pytest
from conftest import ROOT
from mutation.__main__ import TESTS, equivalents
from mutation.mutants import mutants


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("a = b < 1", ["a = (b <= 1)", "a = b < 2"]),
        ("if a and not b: pass", ["if (a or not b): pass", "if a and (b): pass"]),
        ("if found(a): pass", ["if (not found(a)): pass"]),
        ("def f(): return a + 'ä'", ["def f(): return None", "def f(): return (a - 'ä')", "def f(): return a + 'äx'"]),
        ("match a:\n    case {'k': 1}: pass", ["case {'kx': 1}: pass", "case {'k': 2}: pass"]),
        ("for a in b:\n    continue", ["break"]),
        ("try: f(exist_ok=True)\nexcept A: raise B('a message') from None",
         ["try: pass", "try: f(exist_ok=False)", "except A: pass"]),
        # What a person reads, what a type says, and what stands in an f-string stay.
        ("a: Literal['b'] = f'{c + 1} of them'", []),
        ("_report.warn('careful', 1)", []),
    ],
)  # fmt: skip
def test_a_mutant_differs_by_one_small_thing_and_is_python(tmp_path, line, changed):
    (tmp_path / "room.py").write_text(f"{line}\n", encoding="utf-8")
    drawn = mutants(tmp_path, "room")
    assert sorted(each.after for each in drawn) == sorted(changed)
    for mutant in drawn:
        compile(mutant.text, "room", "exec")
        assert mutant.after in mutant.text


def test_the_tests_exist_and_what_is_argued_about_is_in_its_room():
    argued = equivalents()
    assert [name for name in TESTS if not (ROOT / f"tests/test_{name}.py").is_file()] == []
    keys = {each.key for room in {room for room, *_ in argued} for each in mutants(ROOT / "colab_env", room)}
    assert [key for key in argued if key not in keys] == []
    assert [key for key, reason in argued.items() if len(reason.split()) < 4] == []
