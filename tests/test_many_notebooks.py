"""Several notebooks on one Colab machine: what one of them switches to is its own, at every kind of start."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from boot_faults import MACHINE_S_OWN, ROOT, VERSIONS, PreparedMachine, ask_to_switch, machine, next_cell, set_up
from colab_standin import Page, serving, unavailable

pytestmark = [
    pytest.mark.machine,
    pytest.mark.network,
    pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "available"),
    pytest.mark.skipif(not list(VERSIONS.glob("3.12.*")), reason=f"no Python 3.12 in {VERSIONS}"),
]
IMPORT = f"import sys; sys.path.append({str(ROOT)!r}); import colab_env; "
PLACES = {"a.ipynb": "/content/.venv/bin/python", "b.ipynb": "/content/b/.venv/bin/python", "c.ipynb": MACHINE_S_OWN}
TERMINAL = {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def two_kernels() -> Iterator[PreparedMachine]:
    with machine("3.12") as prepared:
        prepared.root.run(["mkdir", "/content/b"])
        set_up(prepared.root, "3.12", "--project", "/content/b", "--kernel", "other")
        yield prepared


@pytest.fixture
def pages(two_kernels: PreparedMachine) -> Iterator[dict[str, Page]]:
    """Three notebooks, each with its own way to its Python: a restart, a restart, and none."""
    with ExitStack() as stack:
        opened = {name: stack.enter_context(Page(two_kernels.server.url, name=name)).open() for name in PLACES}
        ask_to_switch(opened["a.ipynb"], two_kernels.kernel)
        ask_to_switch(opened["b.ipynb"], "other")
        for name, place in PLACES.items():
            next_cell(opened[name], on=place)
        yield opened
    two_kernels.root.run(["/usr/bin/python3", "-m", "colab_env", "switch"], env=TERMINAL)


def where(pages: dict[str, Page]) -> dict[str, str]:
    return {name: next_cell(page)[1] for name, page in pages.items()}


def restart(page: Page) -> None:
    page.restart()


def crash(page: Page) -> None:
    page.submit("import os; os._exit(1)")
    time.sleep(4)


def load_anew(page: Page) -> None:
    """As F5 does when the kernel has been lost: the same notebook gets another kernel."""
    page.close()
    page.open()


@pytest.mark.parametrize("happens", [restart, crash, load_anew], ids=lambda each: each.__name__)
@pytest.mark.parametrize("name", PLACES)
def test_each_notebook_keeps_its_python(pages: dict[str, Page], name: str, happens: Callable[[Page], None]) -> None:
    happens(pages[name])
    assert where(pages) == PLACES


def test_a_notebook_that_goes_back_takes_nobody_along(two_kernels: PreparedMachine, pages: dict[str, Page]) -> None:
    ask_to_switch(pages["b.ipynb"], None)
    next_cell(pages["b.ipynb"], on=MACHINE_S_OWN)
    for page in pages.values():
        page.restart()
    assert where(pages) == {**PLACES, "b.ipynb": MACHINE_S_OWN}


def test_a_default_is_for_those_that_have_not_chosen(two_kernels: PreparedMachine, pages: dict[str, Page]) -> None:
    cell = pages["b.ipynb"].execute(f"{IMPORT}colab_env.switch({two_kernels.kernel!r}, default=True)", timeout=180)
    assert not cell.error
    next_cell(pages["b.ipynb"], on=PLACES["a.ipynb"])
    for name in ("a.ipynb", "c.ipynb"):
        pages[name].restart()
    assert set(where(pages).values()) == {PLACES["a.ipynb"]}
    ask_to_switch(pages["c.ipynb"], None)
    next_cell(pages["c.ipynb"], on=MACHINE_S_OWN)
    pages["a.ipynb"].restart()
    assert where(pages) == {**PLACES, "b.ipynb": PLACES["a.ipynb"]}


def test_two_notebooks_of_one_name_are_two(two_kernels: PreparedMachine) -> None:
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(Page(two_kernels.server.url, name="Untitled0.ipynb", path=path)).open()
            for path in ("fileId=1", "fileId=2")
        )
        ask_to_switch(one, two_kernels.kernel)
        next_cell(one, on=PLACES["a.ipynb"])
        other.restart()
        assert next_cell(other)[1] == MACHINE_S_OWN
        ask_to_switch(other, None)
        one.restart()
        assert next_cell(one)[1] == PLACES["a.ipynb"]
        ask_to_switch(one, None)
        next_cell(one, on=MACHINE_S_OWN)


CHILD = """
import subprocess, sys
code = '''
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="python3")
print(client.execute_interactive(CELL, timeout=60)["content"]["status"])
manager.shutdown_kernel(now=True)
'''
cell = "import sys; print(sys.executable); sys.path.append(ROOT); import colab_env; colab_env.switch(None)"
code = code.replace("CELL", repr(cell.replace("ROOT", repr(ROOT))))
print(subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, text=True).stdout)
"""


def test_a_kernel_that_a_cell_starts_is_not_the_notebook(two_kernels: PreparedMachine, pages: dict[str, Page]) -> None:
    shown = pages["a.ipynb"].execute(f"ROOT = {str(ROOT)!r}\n{CHILD}", timeout=180).stdout
    assert MACHINE_S_OWN in shown.splitlines()
    assert "ok" in shown.splitlines()
    pages["a.ipynb"].restart()
    assert where(pages) == PLACES


def test_a_terminal_takes_all_back_when_no_cell_runs(two_kernels: PreparedMachine, pages: dict[str, Page]) -> None:
    refused = two_kernels.root.run(["/usr/bin/python3", "-m", "colab_env", "switch", "other"], env=TERMINAL)
    assert refused.returncode == 2
    assert "a terminal does not say which notebook is meant" in refused.stderr
    done = two_kernels.root.run(["/usr/bin/python3", "-m", "colab_env", "switch"], env=TERMINAL)
    assert "every notebook" in done.stdout
    for page in pages.values():
        page.restart()
    assert set(where(pages).values()) == {MACHINE_S_OWN}


def test_another_server_finds_them_by_name(two_kernels: PreparedMachine, pages: dict[str, Page]) -> None:
    wait = "while pgrep -f '[j]upyter-server'; do sleep 1; done"
    ended = ["sh", "-c", f"pkill -f '[j]upyter-server'; timeout 60 sh -c \"{wait}\" >&2; echo $?"]
    listed = two_kernels.root.run(ended)
    assert listed.stdout.strip() == "0"
    for page in pages.values():
        page.session = {}  # there is no server any more to close it
    with serving(two_kernels.root) as server, ExitStack() as stack:
        opened = {name: stack.enter_context(Page(server.url, name=name)).open() for name in PLACES}
        assert where(opened) == PLACES
