"""Cells that run in an environment's own kernel while the notebook stays on the machine's."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from boot_faults import ENVIRONMENT, MACHINE_S_OWN, ROOT, VERSIONS, PreparedMachine, ask_to_switch, machine, next_cell
from colab_standin import Page, unavailable

VERSION = "3.13"
pytestmark = [
    pytest.mark.machine,
    pytest.mark.network,
    pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "available"),
    pytest.mark.skipif(not list(VERSIONS.glob(f"{VERSION}.*")), reason=f"no Python {VERSION} in {VERSIONS}"),
]
LOAD = f"import sys; sys.path.append({str(ROOT)!r})\n%load_ext colab_env"
SECRET = {"exists": True, "access": True, "payload": "open sesame"}


@pytest.fixture(scope="module")
def prepared() -> Iterator[PreparedMachine]:
    with machine(VERSION) as prepared:
        yield prepared


@pytest.fixture(scope="module")
def page(prepared: PreparedMachine) -> Iterator[Page]:
    with Page(prepared.server.url, answers={"GetSecret": SECRET}) as page:
        page.open()
        assert not page.execute(LOAD).error
        yield page


def test_a_cell_runs_on_the_other_python_and_the_notebook_stays(page: Page) -> None:
    cell = page.execute("%%colab_env\nimport sys\nprint(sys.version_info[:2])\nprint('oh', file=sys.stderr)\n6 * 7")
    assert (cell.stdout, cell.stderr) == (f"({VERSION.replace('.', ', ')})\n", "oh\n")
    assert cell.displays[-1]["text/plain"] == "42"
    assert page.execute("import sys; sys.executable").text == "'/usr/bin/python3'"


def test_names_stay_between_cells_and_the_kernel_starts_once(page: Page) -> None:
    page.execute("%%colab_env\nimport os; kept = os.getpid()")
    assert page.execute("%%colab_env\nkept == os.getpid()").displays[-1]["text/plain"] == "True"


def test_output_comes_while_the_cell_runs(page: Page) -> None:
    message_id = page.submit("%%colab_env\nprint('first', flush=True)\nimport time; time.sleep(100)")
    assert heard(page, message_id, "stream") == {"name": "stdout", "text": "first\n"}
    assert page.stop(message_id, timeout=300).error["ename"] == "KeyboardInterrupt"


def test_rich_displays_and_their_updates_arrive(page: Page) -> None:
    code = "from IPython.display import HTML, display\nh = display(HTML('<b>1</b>'), display_id='x')\nh.update(HTML('<b>2</b>'))"
    page.execute("%%colab_env\n1")  # the cell that starts the kernel shows that too
    cell = page.execute(f"%%colab_env\n{code}")
    assert [each["text/html"] for each in cell.displays] == ["<b>1</b>"]
    assert [each["text/html"] for each in cell.updates] == ["<b>2</b>"]


def test_a_widget_of_the_other_kernel_hears_the_page(page: Page) -> None:
    code = "from ipykernel.comm import Comm\nc = Comm(target_name='t')\nc.on_msg(lambda m: c.send({'heard': m['content']['data']}))"
    opened = heard(page, page.submit(f"%%colab_env\n{code}"), "comm_open")
    page.execute("1")
    asked = page._send("shell", "comm_msg", {"comm_id": opened["comm_id"], "data": {"pressed": 1}})
    assert heard(page, asked, "comm_msg") == {"comm_id": opened["comm_id"], "data": {"heard": {"pressed": 1}}}


def heard(page: Page, asked: str, kind: str) -> dict[str, object]:
    while True:
        message = page._receive(time.monotonic() + 60)
        if (message["header"]["msg_type"], message["parent_header"].get("msg_id")) == (kind, asked):
            return message["content"]


def test_an_exception_shows_its_own_traceback(page: Page) -> None:
    error = page.execute("%%colab_env\ndef divide():\n    1 / 0\ndivide()").error
    assert error["evalue"] == "ZeroDivisionError: division by zero"
    assert "divide" in "\n".join(error["traceback"])
    assert "background.py" not in "\n".join(error["traceback"])


def test_input_is_asked_in_the_notebook(page: Page) -> None:
    cell = page.execute("%%colab_env\nprint(input('name? ') + '!')", inputs=["Ada"])
    assert cell.stdout == "Ada!\n"


def test_the_stop_button_stops_the_cell_and_the_kernel_lives(page: Page) -> None:
    page.execute("%%colab_env\nalive = 1")
    message_id = page.submit_until_output("%%colab_env\nprint('asleep', flush=True)\nimport time; time.sleep(300)")
    assert page.stop(message_id, timeout=300).error["ename"] == "KeyboardInterrupt"
    assert page.execute("%%colab_env\nalive").displays[-1]["text/plain"] == "1"


def test_plain_values_are_carried_across(page: Page) -> None:
    page.execute("numbers = {'a': [1, 2.5, float('inf')], 'b': (None, b'x', {True})}; text = 'ü'")
    cell = page.execute("%%colab_env --push numbers,text --pull numbers,size\nsize = len(text); numbers['c'] = 1j")
    assert not cell.error
    assert page.execute("size, numbers").text == "(1, {'a': [1, 2.5, inf], 'b': (None, b'x', {True}), 'c': 1j})"


def test_other_values_are_refused_by_their_type(page: Page) -> None:
    page.execute("import pathlib; place = pathlib.Path('/x')")
    assert "PosixPath is not a plain value" in page.execute("%%colab_env --push place\n1").error["evalue"]
    assert "is not a plain value" in page.execute("%%colab_env --pull f\nf = print").error["evalue"]
    assert "there is no nothing" in page.execute("%%colab_env --push nothing\n1").error["evalue"]


def test_secrets_come_from_colabs_page(page: Page) -> None:
    cell = page.execute("%%colab_env\nfrom google.colab import userdata\nprint(userdata.get('KEY'))")
    assert cell.stdout == "open sesame\n"


def test_a_kernel_that_dies_is_an_error_and_the_next_cell_starts_another(page: Page) -> None:
    assert "has ended" in page.execute("%%colab_env\nimport os; os._exit(1)").error["evalue"]
    assert page.execute("%%colab_env\n1 + 1").displays[-1]["text/plain"] == "2"


def test_loading_adds_nothing_to_the_users_names(page: Page) -> None:
    page.restart()
    page.execute("import sys; before = set(); before |= set(get_ipython().user_ns)")
    page.execute(LOAD)
    added = page.execute("{n for n in set(get_ipython().user_ns) - before if not n.startswith('_')}").text
    assert added == "set()"


def test_status_and_mistakes_are_shown(page: Page, prepared: PreparedMachine) -> None:
    assert prepared.kernel in page.execute("%colab_env status").text
    assert "does not know 'dance'" in page.execute("%colab_env dance").error["evalue"]


def test_a_package_is_added_and_can_be_imported_at_once(page: Page) -> None:
    page.execute("%%colab_env\n1")
    cell = page.execute("%colab_env add six", timeout=300)
    assert "six added" in cell.stdout, cell.error
    assert page.execute("%%colab_env\nimport six; print(six.__name__)").stdout == "six\n"


def test_the_same_cells_run_inside_the_kernel_itself(page: Page, prepared: PreparedMachine) -> None:
    ask_to_switch(page, prepared.kernel)
    next_cell(page, on=ENVIRONMENT)
    page.execute("%load_ext colab_env")
    cell = page.execute("%%colab_env\nhere = 6 * 7\nprint(here)")
    assert cell.stdout == "42\n"
    assert page.execute("here").text == "42"
    assert page.execute("%%colab_env\n1 / 0").error
    assert prepared.kernel in str(page.execute("%colab_env status").result)
    page.execute("%colab_env switch")
    next_cell(page, on=MACHINE_S_OWN)


def test_the_background_kernel_ends_with_the_notebook(page: Page, prepared: PreparedMachine) -> None:
    page.execute(LOAD)
    pid = page.execute("%%colab_env\nimport os; print(os.getpid())").stdout.strip()
    page.restart()
    deadline = time.monotonic() + 60
    while runs(prepared, pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not runs(prepared, pid)


def runs(prepared: PreparedMachine, pid: str) -> bool:
    # The stand-in's first process collects no orphans: an ended one stays as a zombie.
    return prepared.root.run(["ps", "-o", "stat=", "-p", pid]).stdout.strip()[:1] not in ("", "Z")
