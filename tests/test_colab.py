"""The whole recipe on a stand-in for a Colab machine, and a page that uses the kernel it makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from colab_standin import ColabRoot, Options, Page, Share, real_google_colab, serving, unavailable
from conda_standin import Server
from conda_standin.fixtures import standin, standin_site  # noqa: F401

pytestmark = [
    pytest.mark.machine,
    pytest.mark.network,
    pytest.mark.skipif(unavailable() is not None, reason=str(unavailable())),
]
ROOT = Path(__file__).parents[1]
STOCK = ("python3", "jupyter", "jupyter-server", "pip", "pip3", "ipython", "uv")
SECRET = {"GetSecret": {"exists": True, "access": True, "payload": "s3cret"}}


@pytest.fixture(scope="module")
def colab(standin, standin_site):  # noqa: F811
    """A Colab machine that reaches the stand-in installer's site; the parts of its conda lie outside it."""
    import rattler

    outside = (ROOT, standin_site, Path(rattler.__file__).parents[1])
    shares = tuple(Share(source=path, target=path) for path in outside)
    with ColabRoot.build(options=Options(google_colab=real_google_colab(), shares=shares)) as root:
        yield root


@pytest.fixture(scope="module")
def before(colab):
    """What the machine's own commands are, and what its stock kernel says, before anything is installed."""
    return {"commands": _commands(colab), "kernel": _stock_kernel(colab)}


@pytest.fixture(scope="module")
def recipe(colab, before, standin, standin_site):  # noqa: F811
    """The five steps, each as one call, as the notebook's cells run them; and a second run of all of them."""
    with Server(standin_site / "www") as server:
        address = f"{server.url}/{standin.name}"
        code = f"""
import colab_env, json
results = []
for _ in range(2):
    results.append([
        colab_env.install_miniconda(python="3.12", installer={address!r}, sha256={standin.sha256!r}),
        colab_env.install_colab_packages(),
        colab_env.install_poetry(),
        colab_env.configure_venv("/content"),
        colab_env.register_kernel("py312"),
    ])
print(json.dumps([[each.as_dict() for each in run] for run in results]))
"""
        done = colab.run(["/usr/bin/python3", "-c", code], env={"PYTHONPATH": str(ROOT)}, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_recipe_installs_miniconda_into_usr_local_and_a_kernel_with_every_feature(recipe):
    first, _ = recipe
    assert [each["where"] for each in first][::3] == ["/usr/local", "/content/.venv"]
    assert first[0]["what"].startswith("Miniconda with Python 3.12")
    assert first[-1]["what"] == "Kernel 'py312', full"


def test_a_second_run_finds_everything_there(recipe):
    _, second = recipe
    assert [each["action"] for each in second] == ["already there"] * 5


def test_the_machine_s_own_commands_are_what_they_were(colab, before, recipe):
    assert _commands(colab) == before["commands"]


def test_the_stock_kernel_starts_before_and_after(colab, before, recipe):
    assert _stock_kernel(colab) == before["kernel"]


def test_the_page_gets_the_new_python_with_colab_s_secrets_completion_and_shell(colab, recipe):
    with serving(colab) as server, Page(server.url, answers=SECRET) as page:
        page.open("py312")
        shown = page.execute("import sys; from google.colab import userdata; sys.prefix, userdata.get('x')")
        assert shown.text == "('/content/.venv', 's3cret')"
        assert page.execute("lines = !echo one; echo two\nlines").text.strip() == "['one', 'two']"
        assert "get_ipython" in page.complete("get_ip")["matches"]


def test_google_colab_is_the_machine_s_own_although_conda_s_old_one_is_installed(colab, recipe):
    assert list(colab.path("/usr/local/conda-meta").glob("google-colab-1.0.0-*.json"))
    with serving(colab) as server, Page(server.url) as page:
        page.open("py312")
        place = page.execute("import google.colab; google.colab.__file__").text
    assert "/colab-env/layers/cp312-" in place


def test_poetry_add_in_a_cell_installs_a_package_that_imports(colab, recipe):
    with serving(colab) as server, Page(server.url) as page:
        page.open("py312")
        page.execute("!poetry add --quiet idna", timeout=300)
        assert ".venv" in page.execute("import idna; idna.__file__").text


def test_a_plain_ipython_in_the_environment_survives_colab_s_configuration(colab, recipe):
    installed = colab.run(["/content/.venv/bin/python", "-m", "pip", "install", "-q", "ipython"], timeout=300)
    assert installed.returncode == 0, installed.stderr
    done = colab.run(["/content/.venv/bin/python", "-m", "IPython", "-c", "print(6 * 7)"])
    assert (done.returncode, done.stdout.strip()) == (0, "42")


def _commands(colab: ColabRoot) -> dict[str, tuple[str, str]]:
    """Return, for each stock command, where it is and what it answers."""
    answers = {}
    for name in STOCK:
        where = colab.run(["sh", "-c", f"command -v {name}"]).stdout.strip()
        answers[name] = (where, colab.run([name, "--version"]).stdout)
    return answers


def _stock_kernel(colab: ColabRoot) -> str:
    with serving(colab) as server, Page(server.url) as page:
        page.open("python3")
        return page.execute("import sys, ipykernel; sys.executable, sys.version, ipykernel.__file__").text
