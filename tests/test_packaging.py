"""What is published: a wheel whose page has no dead link, sources that are whole, and a word where it cannot run."""

from __future__ import annotations

import email
import os
import runpy
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT

FRONT = ROOT / "colab_env/front.sh"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Return the directory with the sdist, and the wheel that is built from it."""
    directory = tmp_path_factory.mktemp("published")
    environ = {**os.environ, "COLAB_BOOTSTRAP_REPOSITORY": "ada/engine"}
    argv = [sys.executable, "-m", "uv", "build", "--quiet", "--out-dir", directory, ROOT]
    subprocess.run(argv, check=True, env=environ)
    return directory


def metadata(published: Path):
    with zipfile.ZipFile(next(published.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(wheel.read(name))


@pytest.mark.network
def test_links_of_the_page_on_pypi_are_absolute(published):
    text = metadata(published).get_payload()
    assert "](https://github.com/ada/engine/blob/main/docs/steps.md)" in text
    assert "OWNER/REPO" not in text
    assert [line for line in text.splitlines() if "](docs/" in line] == []
    assert "https://github.com/ada/engine" in " ".join(metadata(published).get_all("Project-URL"))


@pytest.mark.network
def test_its_package_index_page_gets_full_marks(published):
    argv = [sys.executable, "-m", "pyroma", "--min=10", "--file", next(published.glob("*.tar.gz"))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.network
def test_the_archive_of_the_sources_has_what_its_own_commands_need(published):
    with tarfile.open(next(published.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("no git checkout")
    assert {name for name in tracked.stdout.splitlines() if not name.startswith(".git")} <= names


def test_an_unknown_address_leaves_words_in_the_place_of_links(monkeypatch):
    parts = ["hatchling", "metadata", "plugin", "interface"]
    for end in range(1, len(parts) + 1):  # hatchling itself is installed only while something is built
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), SimpleNamespace(MetadataHookInterface=object))
    module = runpy.run_path(str(ROOT / "packaging/metadata.py"))
    text = "[a](https://x.org/OWNER/REPO)\nsee [b `c`](docs/d.md) ![e](f.png)\n"
    assert module["with_absolute_links"](text, None) == "see b `c` \n"
    assert "blob/main/docs/d.md) ![e](https://github.com/o/r/raw/main/f.png)" in module["with_absolute_links"](
        text, "o/r"
    )


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_elsewhere_than_on_linux_the_import_says_so_in_one_sentence(platform):
    code = f"import sys; sys.platform = {platform!r}; import colab_env"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "ImportError: colab_env runs on Linux, as Colab does" in done.stderr.splitlines()[-1]
    assert platform in done.stderr.splitlines()[-1]


def test_the_other_distribution_of_that_import_is_named(tmp_path):
    """Another `colab_env/__init__.py` and `handler.py`, as PyPI's colab-env 0.2.0 puts them there."""
    package = tmp_path / "lib/python3.12/site-packages/colab_env"
    package.mkdir(parents=True)
    (package / "handler.py").touch()
    (package / "__init__.py").write_text("raise ImportError('colab-env only works in a Google Colab notebook')\n")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/colab-env"
    command.write_bytes(FRONT.read_bytes())
    main = tmp_path / "bin/colab-env-main"
    main.write_text("#!/bin/sh\necho started\n")
    for path in (command, main):
        path.chmod(0o755)
    done = subprocess.run([command, "status"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (5, "")
    assert "pip uninstall -y colab-env colab-bootstrap" in done.stderr
    (package / "__init__.py").write_bytes((ROOT / "colab_env/__init__.py").read_bytes())  # ours was installed last
    assert subprocess.run([command, "status"], capture_output=True, text=True, check=True).stdout == "started\n"
    code = f"import sys; sys.path.insert(0, {str(package.parent)!r}); import colab_env"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "PyPI's colab-env is another project" in done.stderr


@pytest.mark.machine
@pytest.mark.network
def test_one_command_makes_a_release_and_nothing_is_left_half_changed(tmp_path):
    clone = tmp_path / "clone"
    if subprocess.run(["git", "clone", "-q", ROOT, clone], capture_output=True, check=False).returncode:
        pytest.skip("no git checkout")
    for words in (["user.name", "Ada"], ["user.email", "ada@example.org"]):
        subprocess.run(["git", "-C", clone, "config", *words], check=True)

    def release(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, clone / "packaging/release.py", *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    assert "add --repository OWNER/NAME" in release("0.1.0", "--no-checks").stderr
    assert "'x.y' is not a version" in release("x.y").stderr
    done = release("0.1.0", "--no-checks", "--repository", "ada/engine")
    assert done.returncode == 0, done.stderr
    assert "uv publish dist/colab_bootstrap-0.1.0" in done.stdout
    assert len(list((clone / "dist").glob("colab_bootstrap-0.1.0*"))) == 2
    tracked = subprocess.run(
        ["git", "-C", clone, "grep", "-l", "github/OWNER/REPO"], capture_output=True, text=True, check=False
    )
    assert [name for name in tracked.stdout.split() if not name.startswith(("tests/", "packaging/"))] == []
    assert "is not newer than 0.1.0" in release("0.1.0", "--no-checks").stderr


def test_every_name_that_tab_offers_is_there():
    code = "import colab_env; assert 'native' in dir(colab_env); [getattr(colab_env, name) for name in dir(colab_env)]"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "words", [["status", "--json"], ["lock", "nowhere.ipynb", "--json"], ["plan", "--python", "x"]]
)
def test_a_full_disk_behind_the_output_is_said_in_one_line(words, tmp_path):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        argv = [sys.executable, "-m", "colab_env", *words, "--json"]
        done = subprocess.run(argv, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 7
    assert done.stderr == "colab-env: cannot write to the standard output: No space left on device\n"
