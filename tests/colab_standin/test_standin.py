"""The stand-in behaves as Colab's machine is known to, and leaves the real machine alone."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from . import PYTHONS, ColabRoot, CrashError, Options, Page, PageError, real_google_colab, serving, unavailable
from .layers import dist_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Server

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "available"),
]

SECRET = {"exists": True, "access": True, "payload": "open sesame"}


@pytest.fixture(scope="module")
def root() -> Iterator[ColabRoot]:
    with ColabRoot.build(options=Options(google_colab=real_google_colab())) as root:
        yield root


@pytest.fixture(scope="module")
def server(root: ColabRoot) -> Iterator[Server]:
    with serving(root) as server:
        yield server


@pytest.fixture
def page(server: Server) -> Iterator[Page]:
    with Page(server.url, answers={"GetSecret": SECRET}) as page:
        yield page.open()


def test_a_write_in_usr_local_does_not_reach_the_real_machine(colab_root: ColabRoot) -> None:
    colab_root.run(["touch", "/usr/local/bin/written"])
    assert colab_root.path("/usr/local/bin/written").is_file()
    assert colab_root.changes() == ["/usr/local/bin/written"]
    assert not Path("/usr/local/bin/written").exists()


def test_two_stand_ins_never_see_each_others_writes(colab_root: ColabRoot) -> None:
    colab_root.run(["touch", "/content/mine"])
    with ColabRoot.build() as other:
        assert other.run(["ls", "/content"]).stdout.split() == ["sample_data"]


def test_the_home_directory_is_empty_and_the_tools_are_colabs(colab_root: ColabRoot) -> None:
    assert colab_root.run(["ls", "-A", "/root"]).stdout == ""
    which = colab_root.run(["which", "python3", "uv", "jupyter-server", "conda", "poetry"])
    assert which.stdout.split() == ["/usr/bin/python3", "/usr/local/bin/uv", "/usr/local/bin/jupyter-server"]
    assert "ensurepip is not" in colab_root.run(["python3", "-m", "venv", "/content/venv"]).stdout


def test_a_program_that_takes_too_long_is_ended(colab_root: ColabRoot) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        colab_root.run(["sleep", "1234"], timeout=0.5)
    assert "1234" not in colab_root.run(["ps", "ax"]).stdout


def test_input_exit_code_and_directory_reach_the_program(colab_root: ColabRoot) -> None:
    done = colab_root.run(["sh", "-c", "cat; pwd >&2; exit 3"], input="hello", cwd="/root")
    assert (done.returncode, done.stdout, done.stderr) == (3, "hello", "/root\n")


def test_other_pythons_are_shown_on_demand() -> None:
    versions = Path("/root/.pyenv/versions")
    pythons = sorted(versions.glob("3.1[1-9]*/bin/python")) if versions.is_dir() else []
    if not pythons:
        pytest.skip(f"no CPython in {versions}")
    inside = f"{PYTHONS}/{pythons[-1].relative_to(versions)}"
    with ColabRoot.build(options=Options(pythons=versions)) as root:
        assert root.run([inside, "-m", "venv", "/content/venv"]).returncode == 0
        assert root.run(["touch", f"{PYTHONS}/written"]).returncode == 1


def test_the_stock_kernel_executes(page: Page) -> None:
    cell = page.execute("import os, sys\nprint(os.environ['COLAB_JUPYTER_IP'], file=sys.stderr)\nprint('out')\n6 * 7")
    assert (cell.stdout, cell.text) == ("out\n", "42")
    assert cell.stderr.strip() in page.url


def test_a_shell_line_runs(page: Page) -> None:
    assert page.execute("!echo $COLAB_GPU hello; pwd").stdout.split() == ["hello", "/content"]


def test_an_exception_is_an_error(page: Page) -> None:
    assert page.execute("1 / 0").error["ename"] == "ZeroDivisionError"


def test_completion_carries_colabs_metadata(page: Page) -> None:
    page.execute("def greet_the_world(name): pass")
    reply = page.complete("greet_the")
    (described,) = reply["metadata"]["colab_types_experimental"]
    assert reply["matches"] == ["greet_the_world"]
    assert described["type_name"] == "function"
    assert "greet_the_world(name)" in described["definition"]


def test_inspection_is_structured(page: Page) -> None:
    page.execute("def greet(name='you'):\n    'Say hello.'")
    fields = page.inspect("greet")["data"]["application/json"]
    assert (fields["type_name"], fields["docstring"], fields["argspec"]["args"]) == ("function", "Say hello.", ["name"])


def test_a_secret_comes_from_the_page(page: Page) -> None:
    cell = page.execute("from google.colab import userdata\nuserdata.get('KEY')")
    assert (cell.text, cell.asked) == ("'open sesame'", ["GetSecret"])


def test_input_is_answered(page: Page) -> None:
    assert page.execute("input('name? ') + input()", inputs=["Ada", "!"]).text == "'Ada!'"


def test_the_stop_button_interrupts(page: Page) -> None:
    message_id = page.submit_until_output("print('asleep', flush=True)\nimport time; time.sleep(300)")
    assert page.stop(message_id).error["ename"] == "KeyboardInterrupt"


def test_a_restart_forgets(page: Page) -> None:
    page.execute("kept = 1")
    page.restart()
    assert page.execute("kept").error["ename"] == "NameError"


def test_an_unknown_kernel_is_refused(server: Server) -> None:
    with pytest.raises(PageError, match="501"):
        Page(server.url).start("nowhere")


def test_a_crash_is_told_and_the_kernel_comes_back(page: Page) -> None:
    with pytest.raises(CrashError):
        page.execute("import os; os._exit(1)")
    page.connect()
    assert page.execute("1 + 1").text == "2"


def test_a_switched_session_runs_another_kernel(root: ColabRoot, page: Page) -> None:
    kernels = "/usr/local/share/jupyter/kernels"
    root.run(["cp", "-r", f"{kernels}/python3", f"{kernels}/other"])
    first = page.kernel_id
    page.switch("other")
    assert page.kernel_id != first
    assert page.execute("1 + 1").text == "2"


def test_a_plain_kernel_of_a_foreign_environment_dies_of_colabs_configuration(root: ColabRoot, server: Server) -> None:
    python = foreign_environment(root)
    root.run([python, "-m", "ipykernel", "install", "--prefix=/usr/local", "--name=foreign"])
    with Page(server.url) as page:
        page.start("foreign")
        with pytest.raises(PageError):
            page.connect(timeout=6)
        reason = "'google.colab._kernel.Kernel' could not be imported"
        deadline = time.monotonic() + 60
        while reason not in server.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
    assert reason in server.log.read_text()


def foreign_environment(root: ColabRoot) -> str:
    """Make a virtual environment with all of Colab's packages but google.colab, without a download."""
    root.run(["/usr/bin/python3", "-m", "venv", "--without-pip", "/content/foreign"])
    site = next(root.path("/content/foreign/lib").glob("*/site-packages"))
    packages = Path("/", dist_packages())
    for package in root.path(str(packages)).iterdir():
        if package.name not in {"google", "colab_kernel_launcher.py"}:
            (site / package.name).symlink_to(packages / package.name)
    return "/content/foreign/bin/python"
