import difflib
import errno
import json
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from colab_env import _files, ipynb
from colab_env import notebook as module
from colab_env.errors import (
    DiskFullError,
    KernelNameError,
    NotebookBusyError,
    NotebookError,
    NotebookVersionError,
    NotWritableError,
)
from colab_env.jupyter.kernelspec import check_kernel_name
from colab_env.notebook import check_notebook_kernel, restore_notebook, set_notebook_kernel

PYTHON3 = {"display_name": "Python 3", "name": "python3"}
PLAIN = {"cells": [], "metadata": {"kernelspec": PYTHON3}, "nbformat": 4, "nbformat_minor": 5}

# As Colab's "Download .ipynb" writes it: its own key order, two spaces, \u003c for "<", ids in the cells' metadata.
COLAB = r"""{
  "nbformat": 4,
  "nbformat_minor": 0,
  "metadata": {
    "colab": {
      "provenance": [],
      "include_colab_link": true,
      "toc_visible": true,
      "kernelspec": {"name": "decoy"}
    },
    "kernelspec": {
      "name": "python3",
      "display_name": "Python 3"
    },
    "language_info": {
      "name": "python"
    },
    "accelerator": "GPU"
  },
  "cells": [
    {
      "cell_type": "markdown",
      "metadata": {
        "id": "view-in-github",
        "colab_type": "text"
      },
      "source": [
        "\u003ca href=\"https://example.org/\"\u003eüñ→ \"kernelspec\": {\"name\": \"python3\"}\u003c/a\u003e"
      ]
    },
    {
      "cell_type": "code",
      "execution_count": null,
      "metadata": {
        "id": "Zx1_ab",
        "cellView": "form",
        "kernelspec": {"name": "decoy"}
      },
      "outputs": [],
      "source": [
        "# @title Choose { \"display-mode\": \"form\" }\n",
        "colour = \"red\"  # @param [\"red\", \"blue\"]"
      ]
    }
  ]
}"""


@pytest.fixture(autouse=True)
def jupyter(tmp_path, monkeypatch):
    directory = tmp_path / "jupyter"
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(directory))
    return directory


@pytest.fixture
def path(tmp_path):
    directory = tmp_path / "lesson"
    directory.mkdir()
    return directory / "analysis.ipynb"


def written(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def set_in(path, text, name="py312", **options):
    """Write a notebook, set its kernel, return the new text."""
    set_notebook_kernel(written(path, text), name, **options)
    return path.read_bytes().decode()


def names_beside(path):
    return sorted(file.name for file in path.parent.iterdir())


def register(jupyter, name, spec):
    directory = jupyter / "kernels" / name
    directory.mkdir(parents=True)
    (directory / "kernel.json").write_text(spec if isinstance(spec, str) else json.dumps(spec))


def kernelspec(text):
    return json.loads(text.removeprefix("\ufeff"))["metadata"]["kernelspec"]


def but_for_kernelspec(text):
    content = json.loads(text.removeprefix("\ufeff"))
    content.setdefault("metadata", {}).pop("kernelspec", None)
    return content


def changed_lines(old, new):
    return [line for line in difflib.ndiff(old.splitlines(), new.splitlines()) if line[0] in "+-"]


# What it does


def test_a_notebook_as_colab_writes_it_changes_in_three_lines_only(path):
    new = set_in(path, COLAB)
    assert changed_lines(COLAB, new) == [
        '+       "language": "python",',
        '-       "name": "python3",',
        '+       "name": "py312",',
        '-       "display_name": "Python 3"',
        '+       "display_name": "py312"',
    ]


def test_with_its_language_there_only_two_values_change(path):
    old = COLAB.replace('"name": "python3",\n', '"language": "python",\n      "name": "python3",\n')
    expected = old.replace('"name": "python3",\n', '"name": "py312",\n').replace('"Python 3"', '"Python 3.12"')
    assert set_in(path, old, display_name="Python 3.12") == expected


def test_a_missing_kernelspec_only_adds_lines(path):
    old = json.dumps({**PLAIN, "metadata": {"language_info": {"name": "python"}}}, indent=1)
    assert changed_lines(old, set_in(path, old)) == [
        '+   "kernelspec": {',
        '+    "display_name": "py312",',
        '+    "language": "python",',
        '+    "name": "py312"',
        "+   },",
    ]


def test_the_result_is_one_line_that_names_both_kernels_and_the_backup(path, jupyter):
    register(jupyter, "py312", {"display_name": "Own"})
    change = set_notebook_kernel(written(path, COLAB), "py312")
    assert repr(change) == f"✓ {path} now asks for kernel py312 (was python3; the old file is analysis.ipynb.bak)"
    assert (change.changed, change.needed, change.backup) == (True, False, path.with_name("analysis.ipynb.bak"))


def test_the_result_has_plain_values_for_json(path, jupyter):
    register(jupyter, "py312", {"display_name": "Own"})
    change = set_notebook_kernel(written(path, COLAB), "py312")
    assert json.loads(json.dumps(change.as_dict())) == {
        "path": str(path),
        "name": "py312",
        "before": "python3",
        "action": "changed",
        "backup": f"{path}.bak",
        "notes": [],
        "changed": True,
        "needed": False,
    }


def test_a_relative_path_is_shown_as_given(path, jupyter, monkeypatch):
    register(jupyter, "py312", {"display_name": "Own"})
    written(path, COLAB)
    monkeypatch.chdir(path.parent)
    shown = "✓ analysis.ipynb now asks for kernel py312 (was python3; the old file is analysis.ipynb.bak)"
    assert repr(set_notebook_kernel("analysis.ipynb", "py312")) == shown


def test_a_kernel_that_this_machine_does_not_have_is_a_note_with_those_near_it(path, jupyter):
    register(jupyter, "py312", {"display_name": "Own"})
    (note,) = set_notebook_kernel(written(path, COLAB), "py321").notes
    assert note.startswith("no kernel 'py321' is registered on this machine; did you mean py312")


def test_the_registered_kernel_gives_the_display_name(path, jupyter):
    register(jupyter, "other", {"display_name": "Other"})
    register(jupyter, "Py312", {"display_name": "Python 3.12 (analysis)"})
    assert kernelspec(set_in(path, COLAB, "PY312")) == {
        "name": "py312",
        "display_name": "Python 3.12 (analysis)",
        "language": "python",
    }


@pytest.mark.parametrize("spec", ["not JSON", [], {"display_name": None}])
def test_a_registered_kernel_without_a_display_name_leaves_the_name(path, jupyter, spec):
    register(jupyter, "py312", spec)
    assert kernelspec(set_in(path, COLAB))["display_name"] == "py312"


def test_another_language_can_be_named(path):
    assert kernelspec(set_in(path, COLAB, "ir", language="R"))["language"] == "R"


def test_other_keys_of_the_kernelspec_stay(path):
    spec = {"argv": ["x"], **PYTHON3, "env": {"A": "é"}}
    new = kernelspec(set_in(path, json.dumps({**PLAIN, "metadata": {"kernelspec": spec}}, indent=1)))
    assert (new["argv"], new["env"], new["name"]) == (["x"], {"A": "é"}, "py312")


def test_a_notebook_that_asks_for_the_kernel_already_is_not_touched(path):
    set_in(path, COLAB)
    seen = path.stat()
    change = set_notebook_kernel(path, "py312")
    assert repr(change) == f"✓ {path} already asks for kernel py312"
    assert path.stat() == seen
    assert change.changed is False


def test_another_display_name_alone_is_a_change(path):
    set_in(path, COLAB)
    assert set_notebook_kernel(path, "py312", display_name="Mine").changed
    assert not set_notebook_kernel(path, "py312", display_name="Mine").changed
    assert kernelspec(path.read_text(encoding="utf-8"))["display_name"] == "Mine"


def test_a_symbolic_link_stays_and_the_file_it_names_changes(path, tmp_path):
    link = tmp_path / "link.ipynb"
    link.symlink_to(written(path, COLAB))
    change = set_notebook_kernel(link, "py312")
    assert link.is_symlink()
    assert check_notebook_kernel(path, "py312").action == "already there"
    assert change.backup == path.with_name("analysis.ipynb.bak")
    assert f"the old file is {path}.bak" in repr(change)


def test_the_mode_stays_and_the_backup_is_no_more_readable_than_the_notebook(path):
    written(path, COLAB).chmod(0o640)
    set_notebook_kernel(path, "py312")
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.with_name("analysis.ipynb.bak").stat().st_mode & 0o777 == 0o640


def test_a_notebook_that_was_invalid_before_is_changed_and_named(path):
    cell = {"cell_type": "code", "metadata": {}, "source": "", "id": "a"}
    change = set_notebook_kernel(written(path, json.dumps({**PLAIN, "cells": [cell]})), "py312")
    assert "nbformat calls this notebook invalid, as it was before" in repr(change)
    assert change.changed


# Every character but the kernel stays

METADATA = {
    "kernelspec in the middle": {"a": 1, "kernelspec": PYTHON3, "language_info": {"name": "python"}},
    "kernelspec with language": {"kernelspec": {"display_name": "P", "language": "python", "name": "python3"}},
    "no kernelspec": {"colab": {"provenance": []}, "language_info": {"name": "python"}},
    "empty kernelspec": {"kernelspec": {}},
    "kernelspec null": {"kernelspec": None, "z": 1},
    "empty metadata": {},
    "no metadata": None,
}
LAYOUT = {
    "nbformat": {"indent": 1},
    "colab": {"indent": 2},
    "tabs": {"indent": "\t"},
    "no indentation": {"indent": 0},
    "one line": {},
    "one line, no spaces": {"separators": (",", ":")},
    "spaces around colons": {"indent": 4, "separators": (",", " : ")},
}
DRESS = {
    "as it is": lambda text: text,
    "escaped": lambda text: text.replace("ü", r"\u00fc").replace("→", r"\u2192").replace("😀", r"\ud83d\ude00"),
    "final newline": lambda text: text + "\n",
    "CRLF": lambda text: text.replace("\n", "\r\n") + "\r\n",
    "BOM": lambda text: "\ufeff" + text,
    "space in front": lambda text: "\n \n" + text + "\n\n",
}


@pytest.mark.parametrize("dress", DRESS.values(), ids=DRESS)
@pytest.mark.parametrize("layout", LAYOUT.values(), ids=LAYOUT)
@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA)
def test_each_way_to_write_a_notebook_survives_the_change_and_the_way_back(path, metadata, layout, dress):
    cell = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "ü → 😀 < \x7f"}
    content = {"cells": [cell], **({} if metadata is None else {"metadata": metadata}), "nbformat": 4}
    old = dress(json.dumps({**content, "nbformat_minor": 5}, ensure_ascii=False, **layout))
    new = set_in(path, old, display_name="Umgebung ü")
    assert but_for_kernelspec(new) == but_for_kernelspec(old)
    assert kernelspec(new) == {"display_name": "Umgebung ü", "language": "python", "name": "py312"}
    assert new.isascii() == old.isascii()
    assert new.count("\r") == (new.count("\n") if "\r" in old else 0)
    assert (new.count("\n") == 0) == (old.count("\n") == 0)
    assert new.endswith(old[-1])
    restore_notebook(path)
    assert path.read_bytes().decode() == old


@pytest.mark.parametrize("layout", LAYOUT.values(), ids=LAYOUT)
@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA)
def test_what_is_added_looks_as_the_writer_of_the_file_would_have_written_it(path, metadata, layout):
    content = {**PLAIN, "metadata": metadata}
    if metadata is None:
        del content["metadata"]
    new = set_in(path, json.dumps(content, **layout))
    assert new == json.dumps(json.loads(new), **layout)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            '{"metadata": {}, "cells": [], "nbformat": 4}',
            '{"metadata": {"kernelspec": SPEC}, "cells": [], "nbformat": 4}',
        ),
        (
            '{ "cells": [],"nbformat": 4,"metadata": { } }',
            '{ "cells": [],"nbformat": 4,"metadata": {"kernelspec": SPEC} }',
        ),
        (
            '{\n "cells": [],\n "nbformat": 4,\n "metadata": {"a": 1}\n}',
            '{\n "cells": [],\n "nbformat": 4,\n "metadata": {"kernelspec": SPEC, "a": 1}\n}',
        ),
        (
            '{"cells": [], "nbformat": 4, "metadata": {"kernelspec": {"name": "a"}, "kernelspec": {"name": "b"}}}',
            '{"cells": [], "nbformat": 4, "metadata": {"kernelspec": {"name": "a"}, "kernelspec": SPEC}}',
        ),
        (
            '{"cells": [], "nbformat": 4, "metadata": {"kernelspec": {"name": "a"}}, "metadata": {}}',
            '{"cells": [], "nbformat": 4, "metadata": {"kernelspec": {"name": "a"}}, "metadata": {"kernelspec": SPEC}}',
        ),
        (
            '{"cells": [], "nbformat": 4, "meta\\u0064ata": {"kernel\\u0073pec": [1, {"name": "x"}]}}',
            '{"cells": [], "nbformat": 4, "meta\\u0064ata": {"kernel\\u0073pec": SPEC}}',
        ),
    ],
    ids=["empty metadata", "odd spaces", "metadata on one line", "kernelspec twice", "metadata twice", "escaped keys"],
)
def test_awkward_files_change_in_one_place(path, old, new):
    spec = '{"display_name": "py312", "language": "python", "name": "py312"}'
    assert set_in(path, old) == new.replace("SPEC", spec)


def test_nan_in_an_output_does_not_stand_in_the_way(path):
    output = {"output_type": "display_data", "metadata": {}, "data": {"application/json": [float("nan"), float("inf")]}}
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": "", "outputs": [output], "execution_count": None}
    assert "[NaN, Infinity]" in set_in(path, json.dumps({**PLAIN, "cells": [cell]}))
    assert restore_notebook(path).changed


def test_what_it_writes_is_valid_to_nbformat(path):
    nbformat.validate(nbformat.reads(set_in(path, COLAB), as_version=nbformat.NO_CONVERT))


def test_a_change_that_would_touch_more_is_refused(path):
    notebook = ipynb.read(written(path, COLAB))
    with pytest.raises(NotebookError, match="without touching more than the kernel"):
        module._require_only_kernelspec_changed(notebook, {**notebook.content, "cells": []}, {})


# Check


def test_a_check_says_what_differs_and_writes_nothing(path):
    change = check_notebook_kernel(written(path, COLAB), "py312")
    assert repr(change) == f"✗ {path} asks for kernel python3, not for py312"
    assert (change.needed, change.changed, change.as_dict()["backup"]) == (True, False, None)
    assert names_beside(path) == ["analysis.ipynb"]
    assert path.read_text(encoding="utf-8") == COLAB


def test_a_check_of_the_right_kernel_says_so(path):
    change = check_notebook_kernel(written(path, COLAB), "python3")
    assert repr(change) == f"✓ {path} already asks for kernel python3"
    assert not change.needed


def test_a_check_of_a_notebook_without_kernel_says_none(path):
    change = check_notebook_kernel(written(path, json.dumps({**PLAIN, "metadata": {}})), "py312")
    assert repr(change) == f"✗ {path} asks for kernel none, not for py312"
    assert change.before is None


# The way back


def test_restoring_says_which_kernel_it_asks_for_again(path):
    set_in(path, COLAB)
    change = restore_notebook(path)
    assert repr(change) == f"✓ {path} is as it was, byte for byte (asks for kernel python3 again, was py312)"
    assert names_beside(path) == ["analysis.ipynb"]


def test_a_second_change_keeps_the_first_backup(path):
    set_in(path, COLAB)
    set_notebook_kernel(path, "py313")
    restore_notebook(path)
    assert path.read_text(encoding="utf-8") == COLAB


def test_a_notebook_edited_between_two_changes_gets_a_second_backup(path):
    edited = set_in(path, COLAB).replace('"GPU"', '"TPU"')
    change = set_notebook_kernel(written(path, edited), "py313")
    assert change.backup == path.with_name("analysis.ipynb.bak2")
    assert path.with_name("analysis.ipynb.bak").read_text(encoding="utf-8") == COLAB
    restore_notebook(path)
    assert path.read_text(encoding="utf-8") == edited


def test_somebody_elses_bak_file_is_left_alone(path):
    written(path.with_name("analysis.ipynb.bak"), "my own notes")
    change = set_notebook_kernel(written(path, COLAB), "py312")
    assert change.backup == path.with_name("analysis.ipynb.bak2")
    assert path.with_name("analysis.ipynb.bak").read_text(encoding="utf-8") == "my own notes"


def test_restoring_an_edited_notebook_is_refused_because_the_edit_would_be_lost(path):
    edited = set_in(path, COLAB).replace('"GPU"', '"TPU"')
    with pytest.raises(NotebookError, match=r"has been edited since analysis\.ipynb\.bak was made"):
        restore_notebook(written(path, edited))
    assert path.read_text(encoding="utf-8") == edited


def test_restoring_without_a_backup_is_an_error(path):
    with pytest.raises(NotebookError, match="has no backup"):
        restore_notebook(written(path, COLAB))


# Bad input: a clear error, and nothing lost


def refused(path, kind, message, *, name="py312"):
    """Return the hint of the expected error, after making sure that nothing in the directory has changed."""
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(kind, match=message) as caught:
        set_notebook_kernel(path, name)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    return caught.value.hint


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("my kernel", "my-kernel"),
        ("a/b", "a-b"),
        ("../x", "x"),
        ("..", "py312"),
        ("", "py312"),
        ("py312\n", "py312"),
        ("größe", "gr-e"),
        ("\u212aernel", "kernel"),
    ],
)
def test_a_name_that_jupyter_does_not_take_is_refused_with_a_better_one(path, name, better):
    hint = refused(written(path, COLAB), KernelNameError, "is not a kernel name", name=name)
    assert repr(better) in hint


@pytest.mark.parametrize("name", ["py312", "Py_3.12-a", ".x", "-"])
def test_a_name_that_jupyter_takes_passes(name):
    assert check_kernel_name(name) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "analysis.ipynb is empty, not a notebook"),
        ("\n<!DOCTYPE html><html>", "is a web page, not a notebook"),
        ('{"cells": [],\n  <<<<<<< HEAD\n}', "it is not JSON .*line 2 column 3"),
        (COLAB[:-9], "it is not JSON .*line 4"),
        (COLAB + "}", "it is not JSON .*Extra data"),
        ("[" * 100_000, "its JSON is nested too deeply"),
        (COLAB.encode("utf-16"), "its text is not UTF-8"),
        ("[]", "it has no nbformat"),
        ('{"name": "python3"}', "it has no nbformat"),
        ('{"nbformat": 4}', "its `cells` are not a list"),
        ('{"nbformat": 4, "cells": [], "metadata": null}', "its `metadata` is not an object"),
    ],
    ids=[
        "empty",
        "page",
        "conflict",
        "cut off",
        "too long",
        "deep",
        "utf-16",
        "list",
        "other",
        "no cells",
        "metadata null",
    ],
)
def test_what_is_not_a_notebook_is_refused(path, text, message):
    assert "nothing was changed" in refused(written(path, text), NotebookError, message)


def test_a_notebook_that_does_not_exist_is_refused(path):
    refused(path, NotebookError, "there is no notebook .*analysis.ipynb")


def test_a_directory_is_refused(path):
    path.mkdir()
    with pytest.raises(NotebookError, match="is a directory, not a notebook"):
        set_notebook_kernel(path, "py312")


def test_an_old_notebook_is_refused_with_a_command_that_converts_it(path):
    old = {"metadata": {"name": "x"}, "nbformat": 3, "nbformat_minor": 0, "worksheets": []}
    hint = refused(written(path, json.dumps(old)), NotebookVersionError, "is a notebook of format 3")
    command = hint.removeprefix("convert it: ").partition(";")[0]
    subprocess.run([sys.executable, "-m", *shlex.split(command)], check=True, capture_output=True)
    assert set_notebook_kernel(path, "py312").changed


@pytest.mark.parametrize("version", [5, "4", None])
def test_a_notebook_of_an_unknown_version_is_refused(path, version):
    hint = refused(written(path, json.dumps({**PLAIN, "nbformat": version})), NotebookVersionError, repr(version))
    assert "nbconvert" not in hint


def test_a_read_only_notebook_is_refused_even_for_root(path):
    written(path, COLAB).chmod(0o444)
    assert "chmod u+w" in refused(path, NotWritableError, "analysis.ipynb is read-only")


def test_a_read_only_directory_is_refused_even_for_root(path):
    written(path, COLAB).parent.chmod(0o555)
    try:
        refused(path, NotWritableError, "lesson is read-only")
    finally:
        path.parent.chmod(0o755)


def test_a_read_only_notebook_is_not_restored(path):
    new = set_in(path, COLAB)
    path.chmod(0o444)
    with pytest.raises(NotWritableError):
        restore_notebook(path)
    assert path.read_text(encoding="utf-8") == new


def test_a_read_only_notebook_can_be_checked(path):
    written(path, COLAB).chmod(0o444)
    assert check_notebook_kernel(path, "py312").needed


def test_a_notebook_that_another_program_writes_is_refused_until_it_is_closed(path):
    written(path, COLAB)
    program = "import sys; handle = open(sys.argv[1], 'a'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        writer.stdout.readline()
        assert "close it there" in refused(path, NotebookBusyError, "open for writing")
        writer.communicate()
    assert set_notebook_kernel(path, "py312").changed


def test_a_notebook_that_another_program_reads_is_changed(path):
    with written(path, COLAB).open(encoding="utf-8"):
        assert set_notebook_kernel(path, "py312").changed


def test_a_notebook_open_for_writing_is_not_restored(path):
    set_in(path, COLAB)
    with path.open("a"), pytest.raises(NotebookBusyError):
        restore_notebook(path)
    assert path.with_name("analysis.ipynb.bak").exists()


def test_a_file_system_without_leases_is_no_obstacle(path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(ipynb.fcntl, "fcntl", unsupported)
    assert set_notebook_kernel(written(path, COLAB), "py312").changed


def test_a_notebook_saved_in_the_meantime_keeps_what_was_saved(path, monkeypatch):
    saved = COLAB.replace('"GPU"', '"TPU!"')
    copy = _files.copy

    def copy_while_somebody_saves(source, target):
        copy(source, target)
        written(path, saved)

    monkeypatch.setattr(_files, "copy", copy_while_somebody_saves)
    with pytest.raises(NotebookBusyError, match=r"has changed .* just now"):
        set_notebook_kernel(written(path, COLAB), "py312")
    assert path.read_text(encoding="utf-8") == saved
    assert names_beside(path) == ["analysis.ipynb"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, DiskFullError("no space left")])
@pytest.mark.parametrize("edge", ["copy", "move", "write_text"])
def test_a_failure_or_the_stop_button_leaves_the_notebook_and_no_litter(path, monkeypatch, edge, interruption):
    def interrupted(*_):
        raise interruption

    monkeypatch.setattr(_files, edge, interrupted)
    with pytest.raises((KeyboardInterrupt, DiskFullError)):
        set_notebook_kernel(written(path, COLAB), "py312")
    assert path.read_text(encoding="utf-8") == COLAB
    assert names_beside(path) == ["analysis.ipynb"]


def test_what_a_killed_run_left_does_not_spoil_the_next_backup(path):
    written(path.with_name(".analysis.ipynb.bak.copying"), "half a note")
    set_in(path, COLAB)
    assert names_beside(path) == ["analysis.ipynb", "analysis.ipynb.bak"]
    restore_notebook(path)
    assert path.read_text(encoding="utf-8") == COLAB


def test_importing_the_module_does_not_import_nbformat():
    program = "import colab_env.notebook, sys; raise SystemExit('nbformat' in sys.modules)"
    root = Path(module.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
