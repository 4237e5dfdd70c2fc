"""Which service this is: from variables and the home directory; Kaggle, whose image is built from Colab's, as a stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest
from colab_standin import ColabRoot, Options, Share, real_google_colab, unavailable

from colab_env.errors import UsageError
from colab_env.interpreter_sources import named
from colab_env.machine import HOSTS, PLAIN, Machine, detect_host
from tests import hosts_page

ROOT = Path(__file__).parents[1]
COLAB = {"COLAB_RELEASE_TAG": "release-colab_20261105-060106_RC00"}
KAGGLE = {**COLAB, "KAGGLE_KERNEL_RUN_TYPE": "Interactive", "KAGGLE_URL_BASE": "https://host", "COLAB_JUPYTER_IP": ""}
# What Kaggle's Dockerfile sets, an empty entry on Python's path among it.
IMAGE = {
    "PYTHONPATH": f"{ROOT}::/opt/facets/facets_overview/python/",
    "PYTHONUSERBASE": "/root/.local",
    "MKL_THREADING_LAYER": "GNU",
}
# What it puts beside the standard library, in short: there each Python of this version imports it, one of an environment too.
KAGGLES_SITE = "import wrapt\n@wrapt.when_imported('google.generativeai')\ndef post_import_logic(module): ...\n"
# What it writes over Colab's configuration.
KAGGLES_IPYTHON = "c = get_config(); c.IPKernelApp.matplotlib = 'inline'\n"


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "plain"),
        (COLAB, "colab"),
        (KAGGLE, "kaggle"),
        # What a person who uses Kaggle's command on Colab has set.
        ({**COLAB, "KAGGLE_USERNAME": "me", "KAGGLE_KEY": "secret", "KAGGLE_CONFIG_DIR": "/content"}, "colab"),
        ({**COLAB, "VERTEX_PRODUCT": "COLAB_ENTERPRISE"}, "colab-enterprise"),
        ({"VERTEX_PRODUCT": "WORKBENCH_INSTANCE"}, "plain"),
        ({"JUPYTERHUB_USER": "me"}, "jupyterhub"),
        ({"JUPYTERHUB_USER": "me", "BINDER_LAUNCH_HOST": "https://host/"}, "binder"),
        ({"CODESPACES": "true"}, "vscode"),
        ({"CODESPACES": ""}, "plain"),
    ],
)
def test_a_host_is_known_by_its_own_variables(variables: dict[str, str], name: str) -> None:
    assert detect_host(variables, Path("/root")).name == name


def test_a_host_is_known_by_its_home() -> None:
    assert detect_host({}, Path("/home/studio-lab-user")).name == "sagemaker-studio-lab"


def test_auto_is_the_host_s_own_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KAGGLE_URL_BASE", "https://host")
    machine = Machine.detect()
    assert (machine.host.name, named("auto", machine, project=tmp_path)[0], machine.is_colab) == (
        "kaggle",
        "system",
        False,
    )
    with pytest.raises(UsageError):
        named("kaggle", machine, project=".")


def test_a_variable_alone_makes_no_colab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    if Path("/etc/ipython/ipython_config.py").exists():
        pytest.skip("this machine has a configuration of IPython")
    assert Machine.detect().host == PLAIN


def test_the_page_shows_what_the_table_says() -> None:
    assert hosts_page.PAGE.read_text(encoding="utf-8") == hosts_page.text()
    assert len({host.name for host in (*HOSTS, PLAIN)}) == len(HOSTS) + 1
    assert all(host.source for host in HOSTS)


@pytest.mark.machine
@pytest.mark.network
@pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "available")
def test_kaggle_gets_a_kernel_that_was_tried_and_its_own_packages_stay() -> None:
    shares = (Share(source=ROOT, target=str(ROOT)),)
    with ColabRoot.build(options=Options(google_colab=real_google_colab(), shares=shares)) as kaggle:
        kaggle.path("/etc/ipython/ipython_config.py").write_text(KAGGLES_IPYTHON)
        # In place of a link into /etc, where Debian has its own.
        site = 'f=$(/usr/bin/python3 -c "import os; print(os.path.dirname(os.__file__))")/sitecustomize.py; rm -f $f; cat > $f'
        assert kaggle.run(["sh", "-ec", site], input=KAGGLES_SITE).returncode == 0
        kaggle.run(["mkdir", "-p", "/kaggle/working"])
        before = set(kaggle.changes())
        argv = ["/usr/bin/python3", "-m", "colab_env", "setup", "--kernel", "lesson"]
        done = kaggle.run(argv, env={**KAGGLE, **IMAGE}, cwd="/kaggle/working", timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Kernel 'lesson', plain" in done.stdout
        asked = kaggle.run(
            ["/usr/bin/python3", "-m", "colab_env", "kernel", "check", "lesson"],
            env={**KAGGLE, **IMAGE},
            cwd="/kaggle/working",
        )
        assert "✓ Kernel 'lesson' works" in asked.stdout, asked.stdout + asked.stderr
        # The next day without a network: what was saved is an input of the notebook, which cannot be written.
        uv = [
            "/usr/local/bin/uv",
            "pip",
            "install",
            "--python",
            "/usr/bin/python3",
            "--target",
            "/tmp/zstd",
            "zstandard",
        ]
        done = kaggle.run(uv, timeout=120)
        assert done.returncode == 0, done.stderr
        key = {**IMAGE, "COLAB_ENV_SNAPSHOT_KEY": "5e" * 32, "PYTHONPATH": f"{IMAGE['PYTHONPATH']}:/tmp/zstd"}
        saved = kaggle.run(
            ["/usr/bin/python3", "-m", "colab_env", "save", "/kaggle/working/envs"],
            env={**KAGGLE, **key},
            cwd="/kaggle/working",
        )
        assert saved.returncode == 0, saved.stdout + saved.stderr
        script = """
            mkdir -p /kaggle/input && mv /kaggle/working/envs /kaggle/input/envs
            rm -rf /root/.local/share/colab-env /root/.local/share/jupyter/kernels/lesson /kaggle/working/.venv
            mount --bind /kaggle/input/envs /kaggle/input/envs && mount -o remount,ro,bind /kaggle/input/envs
            unshare --net /usr/bin/python3 -m colab_env setup --kernel lesson --cache /kaggle/input/envs
            code=$?; umount /kaggle/input/envs; exit $code
        """
        again = kaggle.run(["sh", "-c", script], env={**KAGGLE, **key}, cwd="/kaggle/working", timeout=120)
        assert again.returncode == 0, again.stdout + again.stderr
        assert "restored" in again.stdout
        assert "the cache" not in again.stdout
        made = set(kaggle.changes()) - before
        assert not [path for path in made if path.startswith(("/usr", "/etc", "/opt"))]
