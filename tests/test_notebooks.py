"""One notebook file: its block, its lock, its `!pip install` lines, and the command that opens it."""

from __future__ import annotations

import copy
import difflib
import io
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import nbformat
import pytest
from bundled import PreparedMachine, build_wheel
from conftest import ROOT, offer_only
from env_fixtures import base, stable  # noqa: F401
from jupyter_session import TOKEN, free_port, serving
from small_wheels import write_wheel

from colab_env import _download, _report, cli, env_cli, ipynb, json_text, notebooks, undoing, wheels
from colab_env.errors import (
    BuildError,
    CommandError,
    LockMismatchError,
    NotebookError,
    NotWritableError,
    ScriptError,
    UsageError,
)
from colab_env.formats import script
from colab_env.locks import nearby, script_block, uv_install
from colab_env.machine import Machine
from colab_env.notebook_file import block_cell, imported, install_lines, jupyter_server, packages
from colab_env.request import InstallOptions, find_lock

BLOCK = '# /// script\n# requires-python = ">=3.8"\n# dependencies = [\n#     "lessondemo",\n# ]\n# ///'
PYTHON3 = {"display_name": "Python 3", "language": "python", "name": "python3"}


def cell(source: str | list[str], **more: Any) -> dict[str, Any]:
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source, **more}


def content(*sources: str | list[str], minor: int = 4, **metadata: Any) -> dict[str, Any]:
    cells = [cell(source, **({"id": f"c{number}"} if minor > 4 else {})) for number, source in enumerate(sources)]
    return {"cells": cells, "metadata": {"kernelspec": PYTHON3, **metadata}, "nbformat": 4, "nbformat_minor": minor}


def write(path: Path, value: Any, **style: Any) -> Path:
    path.write_text(json.dumps(value, **{"indent": 1, "ensure_ascii": False, **style}) + "\n", encoding="utf-8")
    return path


def files(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    """A notebook of two cells, in a directory without a project."""
    (tmp_path / "alone").mkdir()
    return write(
        tmp_path / "alone/lesson.ipynb",
        content(["!pip install -q lessondemo\n", "import lessondemo"], "print(1)", minor=5),
    )


@pytest.fixture
def index(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that is all the index there is: lessondemo 1.0 and 2.0, and other 1.0."""
    directory = tmp_path / "index"
    for name, version in (("lessondemo", "1.0"), ("lessondemo", "2.0"), ("lessonother", "1.0")):
        write_wheel(directory, name, version)
    offer_only(directory, home, monkeypatch)
    yield directory
    assert {path.name for path in (tmp_path / "alone").glob(".*")} <= {".venv"}, (
        "what passes between uv and colab-env is gone"
    )


@pytest.mark.parametrize(
    ("source", "requirements", "after"),
    [
        ("!pip install pandas", ["pandas"], "# !pip install pandas"),
        (
            "%pip install -q -U 'pandas>=2,<3' rich",
            ["pandas>=2,<3", "rich"],
            "# %pip install -q -U 'pandas>=2,<3' rich",
        ),
        ("! pip3 install rich  # colours", ["rich"], "# ! pip3 install rich  # colours"),
        ("!python -m pip install a[b]==1.0", ["a[b]==1.0"], "# !python -m pip install a[b]==1.0"),
        ("!{sys.executable} -m pip install six", ["six"], "# !{sys.executable} -m pip install six"),
        ("!uv pip install --system six", ["six"], "# !uv pip install --system six"),
        ("if x:\n    !pip install six\nelse:\n    y()", ["six"], "if x:\n    pass  # !pip install six\nelse:\n    y()"),
        ("!pip install \\\n    six \\\n  rich\nx", ["six", "rich"], "# !pip install \\\n# six \\\n# rich\nx"),
        ("%%capture\n!pip install six", ["six"], "%%capture\n# !pip install six"),
        ("!pip install git+https://host.example/a/b.git@v1", ["git+https://host.example/a/b.git@v1"], None),
        ("!pip install 'b @ https://host.example/b-1-py3-none-any.whl#x'", None, None),
        (
            "!pip install six==1.15\n!pip install Six==1.16",
            ["Six==1.16"],
            "# !pip install six==1.15\n# !pip install Six==1.16",
        ),
        ("!pip install -r requirements.txt", None, None),
        ("!pip install -e .", None, None),
        ("!pip install ./here", None, None),
        ("!pip install $PACKAGE", None, None),
        ("!pip install {name}", None, None),
        ("!pip install six && echo done", None, None),
        ("!pip install six>=1.16,<2", ["six>=1.16,<2"], "# !pip install six>=1.16,<2"),
        ("!pip install six > /dev/null", None, None),
        ("!pip install six 2>/dev/null", None, None),
        ("!pip install 'six", None, None),
        ("!pip install", None, None),
        ("!pip list", None, None),
        ("%%bash\npip install six", ["six"], "%%bash\n# pip install six"),
        ("%%capture\n%%sh\npip install six\nls", ["six"], "%%capture\n%%sh\n# pip install six\nls"),
        ("%%bash\nif x; then\npip install six\nfi", None, None),
        ("%%bash\ncat > f <<E\npip install six\nE", None, None),
        ("%%bash\necho 'a\npip install six\n'", None, None),
        ("pip install six", ["six"], "# pip install six"),
        ("!pip -q install six", ["six"], "# !pip -q install six"),
        ("!pip install -qU --progress-bar off six", ["six"], "# !pip install -qU --progress-bar off six"),
        ("!pip install unilm/layoutlm", None, None),
        ("!pip install git+git@host.example:a/b.git", None, None),
        ("!pip install git+https://user:secret@host.example/a", None, None),
        ("!pip install -i https://user:secret@host.example/simple six", None, None),
        ('x = """\n!pip install six\n"""', None, None),
        ("x = r'''# \"\n%pip install six\n'''\n!pip install rich", ["rich"], None),
        ("# it's\n!echo it's\n!pip install six", ["six"], "# it's\n!echo it's\n# !pip install six"),
        ("%%bash\n!pip install six", None, None),
        ("print('!pip install six')", None, None),
        ("# !pip install six", None, None),
    ],
)
def test_lines_that_install_are_taken_over_whole_or_not_at_all(source, requirements, after):
    lines = install_lines.read([(3, source)])
    if requirements is None and "b @" in source:  # a name with an address is a requirement, fragment and all
        assert lines.requirements == ("b @ https://host.example/b-1-py3-none-any.whl#x",)
    elif requirements is None:
        assert (lines.requirements, lines.sources) == ((), {})
        assert all(note.startswith("cell 4: `") for note in lines.notes)
    else:
        assert list(lines.requirements) == requirements
        assert after is None or lines.sources == {3: after}
        assert lines.notes == ()


def test_an_index_that_a_line_names_goes_to_uv_too():
    lines = install_lines.read(
        [(0, "!pip install -i https://a.example/simple --extra-index-url=https://b.example/s x")]
    )
    assert lines.options == ("--default-index=https://a.example/simple", "--index=https://b.example/s")
    assert lines.requirements == ("x",)


@pytest.mark.parametrize(
    "source",
    [
        "!conda install -y six",
        "!mamba install six",
        "%conda install six",
        "!time pip install six",
        "!PIP=1 pip install six",
        "!uv add six",
        "x = !pip install six",
        "!cd a && pip install .",
        "!pip install",
        "%%bash\nif x; then\n  pip install six\nfi",
        "%%bash\nsudo apt-get update && pip install six",
        'import os\nos.system("pip install six")',
        'subprocess.check_call([sys.executable, "-m", "pip", "install", "six"])',
        "!pip install --pre six",
    ],
)
def test_a_line_that_stays_is_named_with_its_cell(source):
    lines = install_lines.read([(3, source)])
    assert (lines.requirements, lines.sources) == ((), {})
    (note,) = lines.notes
    assert note.startswith("cell 4: `")
    assert "` stays: " in note


@pytest.mark.parametrize("source", ["s = 'os.system(\"pip install six\")'", "# !conda install x", "!pip list", "!ls"])
def test_what_installs_nothing_is_not_named(source):
    assert install_lines.read([(3, source)]) == install_lines.InstallLines()


def test_an_index_of_one_line_does_not_become_that_of_all():
    one, other = "!pip install -i https://a.example/simple x", "!pip install y"
    lines = install_lines.read([(0, one), (1, other)])
    assert (lines.requirements, lines.options, lines.sources) == (("y",), (), {1: "# !pip install y"})
    assert "its index would be asked for all packages" in lines.notes[0]
    assert install_lines.read([(0, one)], is_alone=False).requirements == ()
    both = install_lines.read([(0, one), (1, "!pip install -i https://a.example/simple y")])
    assert (both.options, both.notes) == (("--default-index=https://a.example/simple",), ())


def test_a_password_is_neither_taken_over_nor_shown():
    (note,) = install_lines.read([(0, "!pip install -i https://me:secret@a.example/simple x")]).notes
    assert "user or a password" in note
    assert "https://***@a.example" in note
    assert "secret" not in note


STYLES = {
    "as Jupyter": {"indent": 1},
    "as Colab": {"indent": 2},
    "tabs": {"indent": "\t"},
    "one line": {"indent": None},
    "compact": {"indent": None, "separators": (",", ":")},
    "escaped": {"indent": 1, "ensure_ascii": True},
}


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("minor", [2, 5])
def test_a_block_and_a_lock_are_written_and_all_else_keeps_its_bytes(tmp_path, style, minor):
    before = content("# é\nx = 1", ["print(\n", "  'ü')"], minor=minor, colab={"toc": True}, other=[])
    path = write(tmp_path / "lesson.ipynb", before, **style)
    file = ipynb.read(path)
    text = block_cell.edited(file, block=BLOCK, lock='version = 1\n"ü"\n', sources={1: "print(2)"})
    after = json.loads(text)
    assert "".join(after["cells"][0]["source"]) == BLOCK
    assert after["cells"][0]["metadata"] == {"jupyter": {"source_hidden": True}}
    assert after["metadata"]["uv.lock"] == 'version = 1\n"ü"\n'
    assert after["cells"][2]["source"] == ["print(2)"]
    assert "".join(after["cells"][1]["source"]) == "# é\nx = 1"
    assert ("id" in after["cells"][0]) is (minor > 4)
    nbformat.validate(after)
    expected = copy.deepcopy(before)
    expected["cells"][1]["source"] = ["print(2)"]
    expected["cells"].insert(0, after["cells"][0])
    expected["metadata"] = {"uv.lock": after["metadata"]["uv.lock"], **expected["metadata"]}
    # What json itself writes in the file's style is what stands there.
    assert text == json.dumps(expected, **{"ensure_ascii": False, **style}) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        '\ufeff{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        '{"cells": [],\r\n "nbformat": 4, "nbformat_minor": 5}\r\n',
        '{\n "nbformat": 4,\n "cells": [\n ],\n "nbformat_minor": 5,\n "metadata": {"x": NaN}}',
        '{"cells": [{"cell_type": "code", "source": "1", "outputs": [1e400]}], "metadata": {"a": 1, "a": 2}, "nbformat":4}',
    ],
)
def test_whatever_a_file_is_written_like_nothing_else_changes(tmp_path, text):
    path = tmp_path / "odd.ipynb"
    path.write_bytes(text.encode())
    after = block_cell.edited(ipynb.read(path), block=BLOCK, lock="l")
    moves = difflib.SequenceMatcher(None, text, after, autojunk=False).get_opcodes()
    assert {kind for kind, *_ in moves} <= {"equal", "insert", "replace"}
    path.write_bytes(after.encode())
    read = block_cell.read(ipynb.read(path))
    assert (read.block, read.cell, read.lock) == (BLOCK, 0, "l")
    assert block_cell.edited(ipynb.read(path), block=BLOCK, lock="l") == after


def test_an_item_goes_in_front_of_those_of_a_list():
    assert json_text.with_first_item('{"a": {"b": [1, 2]}}', keys=("a", "b"), value=0) == '{"a": {"b": [0, 1, 2]}}'
    assert json_text.with_first_item('{\n "a": []\n}', keys=("a",), value=0) == '{\n "a": [\n  0\n ]\n}'
    assert json_text.with_value('{"a": [[1], {"b": 2}]}', keys=("a", 1, "b"), value=3) == '{"a": [[1], {"b": 3}]}'


def test_add_remove_and_lock_are_taken_back_one_after_the_other(lesson, index):
    texts = [lesson.read_bytes()]
    added = notebooks.add(lesson, "lessondemo==1.0", "lessonother", python="3.8")
    assert (added.dependencies[0], added.requires_python, added.locked) == ("lessondemo==1.0", ">=3.8", None)
    texts.append(lesson.read_bytes())
    assert notebooks.lock(lesson).locked == 2
    texts.append(lesson.read_bytes())
    assert notebooks.remove(lesson, "Lessonother").dependencies == ("lessondemo==1.0",)
    assert notebooks.lock(lesson).action == "already there", "the lock was kept in step"
    assert 'name = "lessonother"' not in json.loads(lesson.read_text())["metadata"]["uv.lock"]
    for text in reversed(texts):
        assert notebooks.undo(lesson).action == "restored"
        assert lesson.read_bytes() == text
    with pytest.raises(NotebookError, match="to take back"):
        notebooks.undo(lesson)


def test_lines_of_cells_become_the_block_and_come_back(lesson, index):
    before = lesson.read_bytes()
    assert cli.main(["add", str(lesson), "--from-cells", "--quiet"]) == 0
    cells = json.loads(lesson.read_text())["cells"]
    assert cells[1]["source"][0] == "# !pip install -q lessondemo\n"
    assert "lessondemo" in "".join(cells[0]["source"])
    assert cli.main(["add", str(lesson), "--from-cells", "--quiet"]) == 0, "there is none left"
    assert cli.main(["add", str(lesson), "--undo", "--quiet"]) == 0
    assert lesson.read_bytes() == before


def test_an_edit_since_is_not_lost_by_taking_back(lesson, index):
    notebooks.add(lesson, "lessondemo")
    lesson.write_text(lesson.read_text().replace("print(1)", "print(2)"))
    edited = lesson.read_bytes()
    with pytest.raises(NotebookError, match="has been edited since") as caught:
        notebooks.undo(lesson)
    assert "nothing was changed" in str(caught.value)
    assert lesson.read_bytes() == edited


def unfit(lesson: Path) -> None:
    lesson.chmod(0o444)


@pytest.mark.parametrize(
    ("prepare", "words", "error", "hint"),
    [
        (None, ["nosuchpackage"], "no package 'nosuchpackage'|nosuchpackage", "spelled|nothing"),
        (None, ["lessondemo=1"], "'lessondemo=1' is not a package as pip writes it", "nothing was changed"),
        (None, ["--index-url=x"], "is not a package", "nothing was changed"),
        (None, [], "nothing to add", "--from-cells"),
        (unfit, ["lessondemo"], "read-only", "chmod"),
    ],
)
def test_what_cannot_be_added_leaves_every_byte(lesson, index, prepare, words, error, hint):
    if prepare:
        prepare(lesson)
    before = lesson.read_bytes()
    with pytest.raises(Exception, match=error) as caught:
        notebooks.add(lesson, *words)
    assert re.search(hint, str(caught.value)), str(caught.value)
    assert lesson.read_bytes() == before
    assert files(lesson) == ["lesson.ipynb"]


def test_a_package_that_is_not_in_the_block_is_answered_with_those_near_it(tmp_path, home):
    path = write(tmp_path / "a.ipynb", content(BLOCK))
    with pytest.raises(UsageError, match="does not ask for lesondemo") as caught:
        notebooks.remove(path, "lesondemo")
    assert caught.value.hint == "did you mean lessondemo?"


def test_two_blocks_are_named_by_their_cells(tmp_path, home):
    path = write(tmp_path / "a.ipynb", content(BLOCK, "1", BLOCK))
    with pytest.raises(ScriptError, match="2 blocks `# /// script`, in cells 1 and 3"):
        notebooks.lock(path)


def test_a_lock_in_the_notebook_counts_before_the_one_beside_it(tmp_path, home):
    path = write(tmp_path / "a.ipynb", content(BLOCK))
    assert script_block.lock(path) is None
    path.with_name("a.ipynb.lock").write_text("beside")
    assert script_block.lock(path) == "beside"
    write(path, content(BLOCK, **{"uv.lock": "inside"}))
    assert script_block.lock(path) == "inside"
    written = script.script_of(path, Machine.detect())
    assert written.with_name(f"{written.name}.lock").read_text() == "inside"
    assert written.read_text() == BLOCK + "\n"


def test_a_relative_source_of_a_notebook_is_refused_with_the_path_to_write(tmp_path, home):
    block = (
        BLOCK.replace("# ///", "", 0).removesuffix("# ///")
        + '# [tool.uv.sources]\n# lessondemo = { path = "lessondemo" }\n# ///'
    )
    path = write(tmp_path / "a.ipynb", content(block))
    with pytest.raises(ScriptError, match="takes lessondemo from 'lessondemo'") as caught:
        script.script_of(path, Machine.detect())
    assert str(tmp_path / "lessondemo") in str(caught.value.hint)


def test_a_lone_notebook_in_a_pipe_says_what_to_type(lesson, home, capsys):
    before = lesson.read_bytes()
    assert cli.main(["open", str(lesson)]) == ScriptError.exit_code
    said = capsys.readouterr().err
    assert f"colab-env add {lesson} --from-cells" in said
    assert lesson.read_bytes() == before
    assert files(lesson) == ["lesson.ipynb"]


def test_on_a_terminal_one_question_makes_the_block(lesson, index):
    questions: list[str] = []

    def ask(question: str) -> str:
        questions.append(question)
        return ""

    file = ipynb.read(lesson)
    notebooks._ask_what_it_needs(lesson, file, ask)
    assert len(questions) == 1
    assert "Enter: lessondemo, from its cells" in questions[0]
    assert "lessondemo" in notebooks._result(lesson, "changed").dependencies[0]


def test_what_the_cells_import_is_offered_too(tmp_path, home, monkeypatch):
    path = write(tmp_path / "a.ipynb", content("import numpy as np, sklearn.svm", "%matplotlib inline\nimport helpers"))
    added: list[tuple[Any, ...]] = []
    monkeypatch.setattr(notebooks, "add", lambda *words, **options: added.append((*words, options)))
    with pytest.raises(ScriptError) as caught:
        notebooks._ask_what_it_needs(path, ipynb.read(path), None)
    assert f"colab-env add {path} numpy scikit-learn; then" in str(caught.value.hint)
    questions: list[str] = []

    def ask(question: str) -> str:
        questions.append(question)
        return ""

    notebooks._ask_what_it_needs(path, ipynb.read(path), ask)
    assert "(Enter: numpy scikit-learn, which its cells import)" in questions[0]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert added == [(path, "numpy", "scikit-learn", {"python": version})]


def test_packages_that_are_imported_and_not_asked_for_are_named(lesson, index):
    cells = content(["!pip install -q lessondemo\n", "import lessondemo, numpy"], "from PIL import Image", minor=5)
    result = notebooks.add(write(lesson, cells), from_cells=True)
    assert result.notes[-1] == f"its cells import numpy, pillow: colab-env add {lesson} numpy pillow"
    assert notebooks.add(lesson, from_cells=True).notes[-1] == result.notes[-1]


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["import numpy as np, pandas", "from sklearn.svm import SVC"], ["numpy", "pandas", "scikit-learn"]),
        (["import os, json, google.colab, my_own, utils"], []),  # the machine's, and what nobody knows
        (["try:\n    import torch\nexcept ImportError:\n    torch = None\nimport yaml"], ["pyyaml"]),
        (["try:\n    import torch\nfinally:\n    pass"], ["torch"]),
        (["!pip install \\\n    x\nimport cv2\nx = !ls\nplt?"], ["opencv-python"]),
        (["%%time\nimport joblib", "%%bash\nimport scipy", "%%javascript\nimport plotly"], ["joblib"]),
        (['"""\nimport torch\n"""\nif True:\n    !ls\n    import jax'], ["jax"]),
        (["import tqdm, rich.console", "from . import scipy", "from .scipy import x"], []),  # of its own directory
        (["import numpy", "def f(:\n    import numba\n"], ["numpy", "numba"]),
        (["import polars, numpy"], ["numpy"]),
        (["\0import numpy", "(" * 5000 + "\nimport folium"], ["folium"]),
        (
            ["-" * 100_000 + "1\nimport dask", "try:\n    import torch\nexcept " + "a." * 9000 + "b:\n    dask"],
            ["dask", "torch"],
        ),
        (
            [
                "try:\n    import torch\nexcept (KeyError, ImportError):\n    pass\ntry:\n    import jax\nexcept:\n    pass"
            ],
            [],
        ),
        (
            ['if True:\n    import bokeh; re.compile("\\d")'],
            ["bokeh"],
        ),  # newer Pythons warn of it, which is an error here
    ],
)
def test_imports_are_read_as_ipython_reads_cells(tmp_path, cells, names):
    (tmp_path / "tqdm").mkdir()
    (tmp_path / "rich.py").touch()
    assert list(imported.packages(list(enumerate(cells)), asked={"polars"}, directory=tmp_path)) == names


@pytest.mark.parametrize(
    ("spec", "name"),
    [({}, "python3"), ({"name": "Py312"}, "py312"), ({"name": "no name"}, "python3"), ("odd", "python3")],
)
def test_the_notebook_says_by_which_name_it_finds_its_kernel(spec, name):
    assert jupyter_server.kernel_name({"metadata": {"kernelspec": spec}}, Path("a.ipynb")) == name


def test_a_notebook_of_another_language_is_refused():
    spec = {"name": "ir", "language": "R"}
    with pytest.raises(UsageError, match="is a notebook for R"):
        jupyter_server.kernel_name({"metadata": {"kernelspec": spec}}, Path("a.ipynb"))


@pytest.mark.parametrize(
    ("metadata", "language"),
    [
        ({"kernelspec": {"name": "ir", "language": "R"}}, "R"),
        ({"kernelspec": {"name": "ir"}}, "R"),
        ({"kernelspec": {"name": "julia-1.10"}}, "Julia"),
        ({"kernelspec": {"name": "x"}, "language_info": {"name": "julia"}}, "julia"),
    ],
)
def test_nothing_is_written_into_a_notebook_of_another_language(tmp_path, home, metadata, language):
    path = write(tmp_path / "a.ipynb", {**content(BLOCK), "metadata": metadata})
    before = path.read_bytes()
    for call in (lambda: notebooks.add(path, "six"), lambda: notebooks.lock(path), lambda: notebooks.remove(path, "x")):
        with pytest.raises(UsageError, match=f"is a notebook for {language}"):
            call()
    with pytest.raises(UsageError, match=f"is a notebook for {language}"):
        jupyter_server.kernel_name({"metadata": metadata}, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("source", [[1, 2], 5, {"a": 1}])
def test_a_cell_whose_source_is_no_text_is_named(tmp_path, home, source):
    path = write(tmp_path / "a.ipynb", content("x", source))
    with pytest.raises(NotebookError, match="the source of cell 2 is no text"):
        notebooks.add(path, "six")


def test_a_fifo_is_refused_at_once(tmp_path, home):
    os.mkfifo(tmp_path / "a.ipynb")
    with pytest.raises(NotebookError, match="is no regular file"):
        notebooks.add(tmp_path / "a.ipynb", "six")


def test_json_that_is_nested_too_deeply_is_called_so(tmp_path, home):
    path = tmp_path / "a.ipynb"
    path.write_text("[" * 200_000 + "]" * 200_000)
    with pytest.raises(NotebookError, match="nested too deeply"):
        notebooks.add(path, "six")


def test_one_package_is_counted_as_one():
    result = notebooks.NotebookDependencies(
        path=Path("a.ipynb"), dependencies=("x",), requires_python=None, locked=1, action="changed"
    )
    assert "(1 package locked in it)" in repr(result)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["add", "i.ipynb", "--python", "3.11", "six"], ["add", "--python", "3.11", "i.ipynb", "six"]),
        (["add", "i.ipynb", "-r", "f", "six"], ["add", "-r", "f", "i.ipynb", "six"]),
        (["remove", "i.ipynb", "-q", "six"], ["remove", "-q", "i.ipynb", "six"]),
    ],
)
def test_options_may_stand_between_the_notebook_and_the_packages(words, expected):
    assert env_cli.split_command_line(words) == (expected, [])


def test_the_hint_of_a_mixed_undo_names_the_command_that_was_typed(tmp_path, home, capsys):
    path = write(tmp_path / "a.ipynb", content(BLOCK))
    assert cli.main(["lock", str(path), "--undo", "--upgrade"]) == 2
    assert f"colab-env lock {path} --undo" in capsys.readouterr().err


def test_a_notebook_that_is_moved_takes_its_history_along(tmp_path, home):
    machine = Machine.detect()
    path = write(tmp_path / "a.ipynb", content("x"))
    texts = [path.read_bytes()]
    for name in ("y", "z"):
        file = ipynb.read(path)
        block_cell.write(file, file.text.replace('"source": "', f'"source": "{name}'), machine=machine)
        texts.append(path.read_bytes())
    path = path.rename(tmp_path / "b.ipynb")
    for text in (texts[1], texts[0]):
        block_cell.put_back(ipynb.read(path), machine=machine)
        assert path.read_bytes() == text
    with pytest.raises(NotebookError, match="to take back"):
        block_cell.put_back(ipynb.read(path), machine=machine)


def test_the_undo_of_the_machine_leaves_what_the_undo_of_a_notebook_needs(lesson, index):
    before = lesson.read_bytes()
    notebooks.add(lesson, "lessondemo")
    result = undoing.undo()
    assert any("--undo` needs it" in undone.action for undone in result.places)
    assert notebooks.undo(lesson).action == "restored"
    assert lesson.read_bytes() == before


UNBUILT = [
    "error: Failed to add dependencies",
    "  cause: Failed to build `brokenpkg==1.0`",
    "  cause: The build backend returned an error",
    "hint: This error likely indicates that `brokenpkg@1.0` depends on `x`. Otherwise, add it under:",
    "",
    "[tool.uv.extra-build-dependencies]",
    'brokenpkg = ["x"]',
    "",
    "or `uv pip install x` into the environment and re-run with `--no-build-isolation`.",
    "",
    "hint: If you want to add the package regardless of the failed resolution, provide the `--frozen` flag",
    "hint: `brokenpkg` has wheels for cp38",
]  # uv 0.13's own lines, shortened


def test_the_advice_about_uvs_own_command_line_is_not_passed_on():
    assert wheels.without_advice(UNBUILT) == (*UNBUILT[:3], UNBUILT[-1])
    one = CommandError("uv", lines=("error: it fails", "hint: provide the `--frozen` flag to skip"))
    assert "--frozen" not in str(wheels.translate_error(one, {}))
    assert "--no-build" not in str(uv_install.translate_error(CommandError("uv", lines=tuple(UNBUILT)), {}))


def write_source(directory: Path, **files: str) -> None:
    """Write the source archive of brokenpkg 1.0; "__" stands for "." in the names of its files."""
    with tarfile.open(directory / "brokenpkg-1.0.tar.gz", "w:gz") as archive:
        for name, text in {"PKG-INFO": "Name: brokenpkg\nVersion: 1.0\n", **files}.items():
            member = tarfile.TarInfo(f"brokenpkg-1.0/{name.replace('__', '.')}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


def test_what_a_build_needs_and_nobody_has_is_no_fault_of_the_network(lesson, index):
    write_source(index, setup__py="")
    with pytest.raises(CommandError, match="setuptools was not found in the provided package locations"):
        notebooks.add(lesson, "brokenpkg==1.0")


def test_a_package_that_cannot_be_built_is_named_without_uvs_advice(lesson, index, monkeypatch):
    monkeypatch.setattr(_download, "read_once", lambda _url: None)  # the edge: no index answers
    write_source(index, pyproject__toml="[build-system]\nrequires = []\nbuild-backend = 'nosuch'\n")
    before = lesson.read_bytes()
    with pytest.raises(BuildError, match="uv could not build brokenpkg") as caught:
        notebooks.add(lesson, "brokenpkg==1.0")
    assert caught.value.hint == "change what is asked for; nothing was changed"
    assert "--frozen" not in str(caught.value)
    assert lesson.read_bytes() == before


@pytest.mark.parametrize(
    ("page", "hint"),
    [
        ("brokenpkg-1.0-cp37-cp37m-{} brokenpkg-1.0-cp39-cp39-{} brokenpkg-1.0.1-cp312-cp312-{}", '"==3.9.*"'),
        ("brokenpkg-1.0.tar.gz", "no wheel for this kind of machine"),
        (None, "change what is asked for"),
    ],
)
def test_a_package_that_cannot_be_built_names_the_python_that_has_its_wheels(home, monkeypatch, page, hint):
    file = f"manylinux_2_17_{platform.machine()}.manylinux2014_{platform.machine()}.whl"
    text = page and page.replace("{}", file)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://a.example/simple")
    # The edge: the page that an index has of one package.
    monkeypatch.setattr(_download, "read_once", lambda url: text if url.endswith("/brokenpkg/") else None)
    assert hint in packages.unbuilt_hint(UNBUILT, Machine.detect())


def test_the_project_is_the_notebooks_directory_or_one_above_it_in_its_repository(tmp_path):
    path = tmp_path / "repo/course/week1/lesson.ipynb"
    path.parent.mkdir(parents=True)
    path.touch()
    (tmp_path / "requirements.txt").write_text("six\n")  # somebody else's
    assert nearby.project_around(path.parent) is None
    (tmp_path / "repo/.git").mkdir()
    assert nearby.project_around(path.parent) is None
    (tmp_path / "repo/requirements.txt").write_text("six\n")
    assert nearby.project_around(path.parent) == tmp_path / "repo"
    (path.parent / "requirements.txt").write_text("six\n")
    assert nearby.project_around(path.parent) == path.parent


def test_a_server_gets_the_notebooks_own_kernels_before_all_others(tmp_path, home, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", "/elsewhere")
    words, environ = jupyter_server.command_line(
        Path("/usr/bin/jupyter-lab"),
        tmp_path / "a.ipynb",
        kernel="py312",
        kernels=tmp_path / "k",
        machine=Machine.detect(),
    )
    assert environ["JUPYTER_PATH"] == f"{tmp_path}/k:/elsewhere"
    assert words[:2] == [str(tmp_path / "a.ipynb"), "--MultiKernelManager.default_kernel_name=py312"]
    assert ("--allow-root" in words) is (os.geteuid() == 0)


def test_a_jupyter_whose_python_is_gone_is_passed_over(tmp_path, home, monkeypatch):
    program = tmp_path / "bin/jupyter-lab"
    program.parent.mkdir()
    program.write_text("#!/nowhere/python\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr(jupyter_server.sysconfig, "get_path", lambda _: "/nowhere")
    assert jupyter_server.find("lab", Machine.detect()) is None
    program.write_text(f"#!{sys.executable}\n")
    assert jupyter_server.find(None, Machine.detect()) == program


def test_a_new_block_asks_for_the_python_that_is_named():
    assert '# requires-python = ">=3.12"\n' in packages.empty_block("3.12")
    assert '# requires-python = "==3.12.*"\n' in packages.empty_block("==3.12.*")
    assert f'">={sys.version_info.major}.{sys.version_info.minor}"' in packages.empty_block()
    with pytest.raises(UsageError):
        packages.empty_block("three")


@pytest.mark.network
def test_one_command_leads_from_a_file_to_its_first_cell_on_its_own_python(machine, index, lesson, base):  # noqa: F811
    notebooks.add(lesson, "lessondemo==1.0", python=f"=={machine.python.short_version}.*")
    notebooks.lock(lesson)
    cells = content(BLOCK, "import lessondemo, sys; print(lessondemo.version, sys.prefix)")["cells"]
    value = json.loads(lesson.read_text())
    write(lesson, {**value, "cells": [value["cells"][0], {**cells[1], "id": "x"}]})
    before, port = lesson.read_bytes(), free_port()
    argv = [sys.executable, "-m", "colab_env", "open", lesson, "--no-browser", "--port", port]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with serving([*argv, "--", f"--IdentityProvider.token={TOKEN}"], lesson, environ=environ, port=port) as server:
        printed = server.run_notebook()
        shown = server.get("kernelspecs")["kernelspecs"]["python3"]["spec"]["display_name"]
    assert printed[0] == ""
    assert printed[1].split()[0] == "1.0"
    assert printed[1].split()[1].startswith(str(base))
    assert shown == f"Python {machine.python.short_version} (lesson.ipynb)"
    assert lesson.read_bytes() == before, "opening writes nothing into a notebook"
    assert files(lesson) in (["lesson.ipynb"], [".ipynb_checkpoints", "lesson.ipynb"])


@pytest.mark.machine
@pytest.mark.network
def test_a_notebook_in_a_project_opens_on_the_projects_environment(machine, index, lesson, base):  # noqa: F811
    project = lesson.parent
    write_wheel(index, "pip", "99.0")  # every project's environment gets one
    (project / "requirements.txt").write_text("lessondemo==1.0\n")
    write(lesson, content("import lessondemo, sys; print(lessondemo.version, sys.prefix)"))
    port, environ = free_port(), {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "colab_env", "open", lesson, "--no-browser", "--port", port]
    with serving([*argv, "--", f"--IdentityProvider.token={TOKEN}"], lesson, environ=environ, port=port) as server:
        assert server.run_notebook() == [f"1.0 {project / '.venv'}\n"]


@pytest.mark.machine
@pytest.mark.network
def test_where_there_is_no_jupyter_open_gets_one_of_its_own_once(tmp_path):
    bare = PreparedMachine.make(tmp_path)
    uv = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", bare.python]
    subprocess.run([*uv, build_wheel(tmp_path / "wheel")], check=True)
    lesson = write(
        tmp_path / "lesson.ipynb", content(BLOCK.replace("lessondemo", "six"), "import six, sys; print(sys.prefix)")
    )
    environments = tmp_path / "envs"
    environ = {**bare.environ(), "PATH": f"{bare.python.parent}:/usr/bin:/bin", "COLAB_ENV_BASE": str(environments)}
    for _ in range(2):
        port = free_port()
        argv = [bare.python.parent / "colab-env", "open", lesson, "--no-browser", "--port", port]
        with serving([*argv, "--", f"--IdentityProvider.token={TOKEN}"], lesson, environ=environ, port=port) as server:
            assert server.run_notebook()[1].startswith(str(environments))
            program = Path(f"/proc/{server.process.pid}/cmdline").read_bytes().split(b"\0")[0].decode()
        assert program == str(bare.home / ".local/share/colab-env/jupyter/lab/bin/python")


def test_a_lock_that_does_not_fit_its_block_says_what_to_type(machine, index, lesson, base):  # noqa: F811
    notebooks.add(lesson, "lessondemo==1.0", python="3.8")
    notebooks.lock(lesson)
    lesson.write_text(lesson.read_text().replace('\\"lessondemo==1.0\\"', '\\"lessondemo==2.0\\"'))
    with pytest.raises(LockMismatchError, match="does not fit its block") as caught:
        notebooks.open(lesson)
    assert caught.value.hint == f"lock it anew: colab-env lock {lesson}"


def test_a_notebook_that_may_not_be_written_is_refused_before_uv_is_asked(lesson, index, monkeypatch):
    monkeypatch.setattr(packages, "_run_uv", lambda *_, **__: pytest.fail("uv was asked"))
    lesson.chmod(0o444)
    with pytest.raises(NotWritableError):
        notebooks.add(lesson, "lessondemo")


# --- on Colab, where the page has the notebook


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Colab's page (the edge, a fake): `answer` is what it says of its notebook, `cells` are those that have run."""
    state = SimpleNamespace(answer=None, cells=[""])

    def blocking_request(kind: str, *, request: object, timeout_sec: float) -> object:
        assert (kind, request, timeout_sec < 5) == ("get_ipynb", "", True)
        if isinstance(state.answer, Exception):
            raise state.answer
        return state.answer

    google, colab, message = (ModuleType(name) for name in ("google", "google.colab", "google.colab._message"))
    message.blocking_request = blocking_request
    google.colab, colab._message = colab, message
    for module in (google, colab, message):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(_report, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(user_ns={"In": state.cells}))
    return state


def test_the_first_cell_on_colab_finds_the_block_and_the_lock_of_the_open_notebook(page):
    page.answer = {"ipynb": content("import colab_env; colab_env.setup()", BLOCK, **{"uv.lock": "locked"})}
    assert script_block.of_notebook() == (f"{BLOCK}\n", "locked")
    page.cells = ["", BLOCK]
    assert script_block.of_notebook() == (f"{BLOCK}\n", "locked"), "a cell that has run is the same one"
    page.cells = ["", BLOCK.replace("lessondemo", "six")]
    assert script_block.of_notebook() == (page.cells[1] + "\n", None), "the lock is another block's"


@pytest.mark.parametrize("answer", [None, {}, {"ipynb": {"cells": [1]}}, {"ipynb": []}, TimeoutError()], ids=repr)
def test_where_no_page_answers_the_cells_that_have_run_count(page, answer):
    page.answer = answer
    assert script_block.of_notebook() is None
    page.cells = ["", BLOCK]
    assert script_block.of_notebook() == (f"{BLOCK}\n", None)


def test_the_lock_of_the_open_notebook_is_what_a_project_without_files_is_made_from(page, project, home):
    page.answer = {"ipynb": content(BLOCK, **{"uv.lock": "locked"})}
    lock = find_lock(project, InstallOptions(), Machine.detect())
    assert lock.format.name == "script"
    assert lock.path.with_name(f"{lock.path.name}.lock").read_text() == "locked"


def test_a_notebook_that_juv_has_left_broken_says_which_two_characters_to_delete(lesson, home):
    lesson.write_text(lesson.read_text().rstrip() + "\\n")
    with pytest.raises(NotebookError, match="is not JSON") as caught:
        notebooks.lock(lesson)
    assert "delete these two characters" in str(caught.value.hint)
