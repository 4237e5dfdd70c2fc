"""The open notebook continues on another Python, in three ways, and comes back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from boot_faults import (
    ENVIRONMENT,
    MACHINE_S_OWN,
    OWN_KERNELS,
    ROOT,
    VERSIONS,
    WHERE,
    PreparedMachine,
    ask_to_switch,
    machine,
    next_cell,
)
from colab_standin import Page, PageError, unavailable

pytestmark = [
    pytest.mark.machine,
    pytest.mark.network,
    pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "available"),
]
LAUNCHERS = "/usr/local/lib/python3.*/dist-packages/colab_kernel_launcher.py* /usr/local/lib/python3.*/dist-packages/usercustom*"
IMPORT = f"import sys; sys.path.append({str(ROOT)!r}); import colab_env; "
SECRET = {"exists": True, "access": True, "payload": "open sesame"}
PYTHONS = [each for each in ("3.9", "3.11", "3.12", "3.13") if list(VERSIONS.glob(f"{each}.*"))]
READ_SECRET = "from google.colab import userdata; userdata.get('KEY')"
KERNELS = "/root/.local/share/jupyter/kernels/[jm]*/* /usr/local/share/jupyter/kernels/*/*"


@pytest.fixture(scope="module", params=PYTHONS)
def prepared(request: pytest.FixtureRequest) -> Iterator[PreparedMachine]:
    with machine(request.param) as prepared:
        assert prepared.root.run(["sh", "-ec", OWN_KERNELS]).returncode == 0
        before = listed(prepared, KERNELS)
        assert before.count("kernel.json") == 4
        yield prepared
        # Whatever the tests of this file did: the user's own kernels, and the machine's, are as they were.
        assert listed(prepared, KERNELS) == before


@pytest.fixture
def page(prepared: PreparedMachine) -> Iterator[Page]:
    with Page(prepared.server.url, answers={"GetSecret": SECRET}) as page:
        yield page.open()
    prepared.root.run(["/usr/bin/python3", "-m", "colab_env", "switch"], env={"PYTHONPATH": str(ROOT)})


def listed(prepared: PreparedMachine, pattern: str) -> str:
    return prepared.root.run(["sh", "-c", f"sha256sum {pattern}"]).stdout


def test_a_restart_brings_the_new_python_and_another_one_keeps_it(prepared: PreparedMachine, page: Page) -> None:
    before, crashes = listed(prepared, LAUNCHERS), prepared.server.log.read_text().count("KernelRestarter")
    shown = ask_to_switch(page, prepared.kernel)
    assert "The page may call this a crash or a restart. Go on with the next cell." in shown
    next_cell(page, on=ENVIRONMENT)
    page.restart()
    assert page.execute(WHERE).stdout.strip() == ENVIRONMENT
    assert page.execute(READ_SECRET).text == "'open sesame'"
    assert "is the kernel" in page.execute(f"import colab_env; colab_env.switch('{prepared.kernel}')").stdout
    page.execute("import colab_env; colab_env.switch(None)")
    next_cell(page, on=MACHINE_S_OWN)
    assert listed(prepared, LAUNCHERS) == before
    assert prepared.server.log.read_text().count("KernelRestarter") == crashes


def test_an_automatic_restart_keeps_the_new_python(prepared: PreparedMachine, page: Page) -> None:
    ask_to_switch(page, prepared.kernel)
    next_cell(page, on=ENVIRONMENT)
    page.submit("import os; os._exit(1)")
    assert next_cell(page)[1] == ENVIRONMENT


def test_the_session_gets_another_kernel(prepared: PreparedMachine, page: Page) -> None:
    ask_to_switch(page, prepared.kernel, "session")
    next_cell(page, on=ENVIRONMENT)
    assert page.session["kernel"]["name"] == prepared.kernel
    assert page.execute(READ_SECRET).text == "'open sesame'"
    page.execute("import colab_env; colab_env.switch(None)")
    next_cell(page, on=MACHINE_S_OWN)


def test_the_process_becomes_the_new_python_and_run_all_goes_on(prepared: PreparedMachine, page: Page) -> None:
    where = "import os, sys; print(os.getpid(), sys.executable)"
    pid = page.execute(where).stdout.split()[0]
    ask_to_switch(page, prepared.kernel, "exec")
    assert page.execute(where).stdout.split() == [pid, ENVIRONMENT]
    assert page.execute(READ_SECRET).text == "'open sesame'"
    page.restart()
    assert page.execute(WHERE).stdout.strip() == ENVIRONMENT  # it was chosen, in whichever way
    page.execute("import colab_env; colab_env.switch(None)")
    next_cell(page, on=MACHINE_S_OWN)


def test_cells_behind_the_one_that_switches_do_not_run_on_the_old_kernel(prepared: PreparedMachine, page: Page) -> None:
    first = page.submit(f"{IMPORT}colab_env.switch({prepared.kernel!r})")
    second = page.submit("open('/content/ran', 'w').close()")
    page.finish(first)
    with contextlib.suppress(PageError):  # the kernel may be gone before it could answer
        assert page.finish(second, timeout=5).reply["status"] == "aborted"
    next_cell(page, on=ENVIRONMENT)
    assert not prepared.root.path("/content/ran").exists()


def test_a_kernel_that_fails_on_trial_changes_nothing(prepared: PreparedMachine, page: Page) -> None:
    before = listed(prepared, LAUNCHERS)
    prepared.root.run(["mv", "/content/.venv", "/content/away"])
    try:
        for how in ("restart", "session", "exec"):
            error = page.execute(f"{IMPORT}colab_env.switch({prepared.kernel!r}, how={how!r})").error
            assert (error["ename"], "No such file" in error["evalue"]) == ("PreflightError", True)
            assert page.execute(WHERE).stdout.strip() == MACHINE_S_OWN
        assert listed(prepared, LAUNCHERS) == before
    finally:
        prepared.root.run(["mv", "/content/away", "/content/.venv"])


def test_back_from_the_machines_own_side_needs_no_restart(prepared: PreparedMachine, page: Page) -> None:
    page.execute("kept = 1")
    assert "is the machine's own" in ask_to_switch(page, None)
    assert page.execute("kept").text == "1"
