"""Cells that run in an environment's own kernel while the notebook stays on the machine's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from boot_faults import ENVIRONMENT, MACHINE_S_OWN, ROOT, VERSIONS, PreparedMachine, ask_to_switch, machine, next_cell
from colab_standin import Page, Refusal, Slow, real_google_colab, unavailable

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
    assert cell.text == "42"
    assert page.execute("import sys; sys.executable").text == "'/usr/bin/python3'"


def test_names_stay_between_cells_and_the_kernel_starts_once(page: Page) -> None:
    page.execute("%%colab_env\nimport os; kept = os.getpid()")
    assert page.execute("%%colab_env\nkept == os.getpid()").text == "True"


def test_output_comes_while_the_cell_runs(page: Page) -> None:
    message_id = page.submit("%%colab_env\nprint('first', flush=True)\nimport time; time.sleep(100)")
    assert heard(page, message_id, "stream") == {"name": "stdout", "text": "first\n"}
    assert page.stop(message_id, timeout=300).error["ename"] == "KeyboardInterrupt"


def test_what_a_cell_prints_and_its_value_can_be_captured(page: Page) -> None:
    page.execute("%%capture caught\n%%colab_env\nimport sys; print('one'); print('two', file=sys.stderr); 6 * 7")
    text = page.execute("caught.stdout, caught.stderr, [each.data['text/plain'] for each in caught.outputs]").text
    assert text == "('one\\n', 'two\\n', ['42'])"


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


def heard(page: Page, asked: str, kind: str, *, metadata: bool = False, whole: bool = False) -> dict[str, Any]:
    while True:
        message = page._receive(time.monotonic() + 60)
        if (message["header"]["msg_type"], message["parent_header"].get("msg_id")) == (kind, asked):
            return message if whole else message["metadata" if metadata else "content"]


def test_an_exception_shows_its_own_traceback(page: Page) -> None:
    error = page.execute("%%colab_env\ndef divide():\n    1 / 0\ndivide()").error
    assert (error["ename"], error["evalue"]) == ("ZeroDivisionError", "division by zero")
    assert "divide" in "\n".join(error["traceback"])
    assert "background.py" not in "\n".join(error["traceback"])


def test_input_is_asked_in_the_notebook(page: Page) -> None:
    cell = page.execute("%%colab_env\nprint(input('name? ') + '!')", inputs=["Ada"])
    assert cell.stdout == "Ada!\n"


def test_where_nobody_can_be_asked_input_is_an_error_in_the_cell_and_the_next_one_runs(page: Page) -> None:
    page.execute("%%colab_env\nasked = 0")
    cell = page.finish(page.submit("%%colab_env\nname = input('name? ')", allow_stdin=False))
    assert cell.error["ename"] == "StdinNotImplementedError"
    assert "background.py" not in "\n".join(cell.error["traceback"])
    assert page.execute("%%colab_env\nasked + 1").text == "1"


def test_the_stop_button_stops_the_cell_and_the_kernel_lives(page: Page) -> None:
    page.execute("%%colab_env\nalive = 1")
    message_id = page.submit_until_output("%%colab_env\nprint('asleep', flush=True)\nimport time; time.sleep(300)")
    assert page.stop(message_id, timeout=300).error["ename"] == "KeyboardInterrupt"
    assert page.execute("%%colab_env\nalive").text == "1"


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


def test_the_page_takes_its_time(page: Page) -> None:
    page.answers["cell_javascript_eval"] = Slow(data=42, seconds=7)
    cell = page.execute("%%colab_env\nfrom google.colab import output\nprint(output.eval_js('6 * 7'))")
    assert cell.stdout == "42\n"
    # Two in a row, and each gets its own.
    page.answers["cell_javascript_eval"] = 43
    assert page.execute("%%colab_env\nprint(output.eval_js('1'), output.eval_js('2'))").stdout == "43 43\n"


def test_the_page_s_refusal_is_an_error_that_a_cell_can_catch(page: Page) -> None:
    page.answers["cell_javascript_eval"] = Refusal(error="the user said no")
    code = "from google.colab import output, _message\ntry: output.eval_js('1')\nexcept _message.MessageError as e: print(e)"
    assert page.execute(f"%%colab_env\n{code}").stdout == "the user said no\n"
    error = page.execute("%%colab_env\noutput.eval_js('1')").error
    assert (error["ename"], error["evalue"]) == ("MessageError", "the user said no")
    assert page.execute("%%colab_env\nprint(1)").stdout == "1\n"


def test_an_answer_that_comes_too_late_is_for_nobody(page: Page) -> None:
    page.answers.pop("cell_javascript_eval", None)
    code = "from google.colab import output\nprint('asked', flush=True)\noutput.eval_js('1')"
    message_id = page.submit_until_output(f"%%colab_env\n{code}")
    request = heard(page, message_id, "colab_request", metadata=True)
    page.stop(message_id, timeout=300)
    late = {"type": "colab_reply", "colab_msg_id": request["colab_msg_id"], "data": "late"}
    page._send("stdin", "input_reply", {"value": late})
    page.answers["cell_javascript_eval"] = "in time"
    assert page.execute("%%colab_env\nprint(output.eval_js('2'))").stdout == "in time\n"
    assert page.execute("input('? ')", inputs=["typed"]).text == "'typed'"


def test_a_request_belongs_to_its_cell(page: Page) -> None:
    page.answers["cell_javascript_eval"] = 1
    message_id = page.submit("%%colab_env\nfrom google.colab import output; x = output.eval_js('1')")
    message = heard(page, message_id, "colab_request", whole=True)
    reply = {"type": "colab_reply", "colab_msg_id": message["metadata"]["colab_msg_id"], "data": 5}
    assert message["parent_header"]["msg_id"] == message_id
    page._send("stdin", "input_reply", {"value": reply})
    page.finish(message_id)
    assert page.execute("%%colab_env\nprint(x)").stdout == "5\n"


@pytest.mark.skipif(real_google_colab() is None, reason="only the real google.colab lets a command read what is typed")
def test_what_is_typed_reaches_a_shell_command(page: Page) -> None:
    message_id = page.submit_until_output("%%colab_env\n!echo name?; read x; echo hello $x")
    page._send("stdin", "input_reply", {"value": "Ada\n"})
    assert "hello Ada" in page.finish(message_id).stdout


def test_the_page_calls_a_function_of_the_other_kernel(page: Page) -> None:
    page.execute(
        "%%colab_env\nfrom google.colab import output\noutput.register_callback('double', lambda x: print('on it') or 2 * x)"
    )
    invoked = "__import__('google.colab.output._js', fromlist=['x'])._invoke_function('double', '[21]', '{}')"
    cell = page.execute(invoked)
    assert (cell.text, cell.stdout) == ("42", "on it\n")
    error = page.execute(invoked.replace("'double'", "'triple'")).error
    assert (error["ename"], "Function not found" in error["evalue"]) == ("ValueError", True)


def test_the_page_opens_a_channel_to_the_other_kernel(page: Page) -> None:
    # As files.download() does: 1 MiB at a time, whenever the page is ready for more.
    code = """
def send(comm, opened):
    left = [b'x' * 10, b'y' * 5]
    comm.on_msg(lambda _: comm.send({}, None, [left.pop(0)]) if left else comm.close())
get_ipython().kernel.comm_manager.register_target('download_1', send)
"""
    page.execute(f"%%colab_env\n{code}")
    page._send("shell", "comm_open", {"comm_id": "d1", "target_name": "download_1", "data": {}})
    kinds = []
    for _ in range(3):
        asked = page._send("shell", "comm_msg", {"comm_id": "d1", "data": {}})
        kinds.append(heard_kind(page, asked))
    assert kinds == ["comm_msg", "comm_msg", "comm_close"]


def heard_kind(page: Page, asked: str) -> str:
    while True:
        message = page._receive(time.monotonic() + 60)
        kind = message["header"]["msg_type"]
        if message["parent_header"].get("msg_id") == asked and kind.startswith("comm_"):
            return str(kind)


def test_a_thread_prints_after_its_cell(page: Page) -> None:
    code = "import threading, time\nthreading.Thread(target=lambda: (time.sleep(1), print('late'))).start()"
    message_id = page.submit(f"%%colab_env\n{code}")
    page.finish(message_id)
    assert heard(page, message_id, "stream")["text"] == "late\n"


def test_names_of_the_other_kernel_are_completed_and_inspected(page: Page) -> None:
    page.execute("%%colab_env\nonly_there = {'a': 1}")
    code = "%%colab_env\nonly_th"
    reply = page.ask("complete_request", {"code": code, "cursor_pos": len(code)})
    assert reply["matches"] == ["only_there"]
    assert code[reply["cursor_start"] : reply["cursor_end"]] == "only_th"
    found = page.ask("inspect_request", {"code": "%%colab_env\nonly_there", "cursor_pos": 22, "detail_level": 0})
    assert found["found"]
    code = "only_th"
    assert page.ask("complete_request", {"code": code, "cursor_pos": len(code)})["matches"] == []


def test_a_question_mark_shows_the_help_of_the_other_kernel(page: Page) -> None:
    cell = page.execute("%%colab_env\ndef spell():\n    'Abracadabra.'\nspell?")
    assert "Abracadabra." in str(cell.reply["payload"]) + cell.stdout + str(cell.displays)


def test_a_kernel_that_dies_is_an_error_and_the_next_cell_starts_another(page: Page) -> None:
    assert "has ended" in page.execute("%%colab_env\nimport os; os._exit(1)").error["evalue"]
    assert page.execute("%%colab_env\n1 + 1").text == "2"


def test_loading_adds_nothing_to_the_users_names(page: Page) -> None:
    page.restart()
    page.execute("import sys; before = set(); before |= set(get_ipython().user_ns)")
    page.execute(LOAD)
    added = page.execute("{n for n in set(get_ipython().user_ns) - before if not n.startswith('_')}").text
    assert added == "set()"


def test_status_and_mistakes_are_shown(page: Page, prepared: PreparedMachine) -> None:
    assert prepared.kernel in str(page.execute("%colab_env status").displays)
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
