"""The machine's own package index is known to every tool."""

from __future__ import annotations

from pathlib import Path

import pytest
from conda_standin.server import Server

from colab_env import index
from colab_env.index import Index
from colab_env.machine import Machine

A, B, C = (f"https://{name}.example/simple" for name in "abc")


@pytest.fixture
def url(home: Path, monkeypatch: pytest.MonkeyPatch):
    """Return the index's address as this machine has it, with some environment variables."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "PIP_CERT", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)

    def url(**variables: str) -> str | None:
        return index.settings(Machine.detect({"HOME": str(home), **variables})).url

    return url


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_machine_without_settings_uses_the_tools_default(url):
    assert url() is None


@pytest.mark.parametrize("section", ["global", "install"])
@pytest.mark.parametrize("place", [".pip/pip.conf", ".config/pip/pip.conf"])
def test_pips_own_files_are_read(url, home, place, section):
    write(home / place, f"[{section}]\nindex-url = {A}\n")
    assert url() == A


def test_pips_settings_win_in_pips_order(url, home, tmp_path):
    write(home / ".pip/pip.conf", f"[global]\nindex-url = {A}\n")
    write(home / ".config/pip/pip.conf", f"[global]\nindex-url = {B}\n")
    assert url() == B
    named = write(tmp_path / "named.conf", f"[global]\nindex-url = {C}\n")
    assert url(PIP_CONFIG_FILE=str(named)) == C
    assert url(PIP_CONFIG_FILE=str(named), PIP_INDEX_URL=A) == A


def test_pip_is_told_to_read_no_file_with_dev_null(url, home):
    write(home / ".config/pip/pip.conf", f"[global]\nindex-url = {A}\n")
    assert url(PIP_CONFIG_FILE="/dev/null") is None


def test_pips_other_spelling_of_a_key_is_read(url, home):
    write(home / ".config/pip/pip.conf", f"[global]\nindex_url = {A}\n")
    assert url() == A


@pytest.mark.parametrize("text", ['index-url = "%s"\n', '[[index]]\nurl = "%s"\ndefault = true\n'])
def test_uvs_own_file_wins_over_pips(url, home, text):
    write(home / ".config/pip/pip.conf", f"[global]\nindex-url = {A}\n")
    write(home / ".config/uv/uv.toml", text % B)
    assert url() == B


def test_an_index_of_uv_that_is_not_the_default_is_not_taken_for_it(url, home):
    write(home / ".config/uv/uv.toml", f'[[index]]\nurl = "{A}"\n')
    assert url() is None


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_uvs_variables_win_over_all(url, home, name):
    write(home / ".config/uv/uv.toml", f'index-url = "{B}"\n')
    assert url(**{name: A, "PIP_INDEX_URL": C}) == A


@pytest.mark.parametrize("text", ["[", "index-url", "\ufeff[global", "[global]\nindex-url = %(home)s\n[global]\n"])
def test_a_settings_file_that_cannot_be_read_is_passed_over(url, home, text):
    write(home / ".config/pip/pip.conf", text)
    write(home / ".config/uv/uv.toml", text)
    assert url() is None


def test_pips_further_sources_are_told_to_uv(url, home):
    write(
        home / ".config/pip/pip.conf",
        f"[global]\nextra-index-url =\n  {A}\n  {B}\nfind-links = /wheels\ntrusted-host = one two\n",
    )
    found = index.settings(Machine.detect({"HOME": str(home), "PIP_FIND_LINKS": "/here /there"}))
    told = found.uv_environ({"UV_INSECURE_HOST": "mine"})
    expected = {"UV_EXTRA_INDEX_URL": f"{A} {B}", "UV_FIND_LINKS": "/here,/there"}
    assert {**told, **expected, "UV_INDEX_STRATEGY": "unsafe-best-match"} == told
    assert "UV_INSECURE_HOST" not in told


def test_children_are_told_only_what_they_are_not_told_already():
    settings = Index(url=A, certificates="/etc/cert.pem")
    assert settings.uv_environ({}) == {"UV_DEFAULT_INDEX": A, "SSL_CERT_FILE": "/etc/cert.pem"}
    assert settings.poetry_environ({}) == {"POETRY_PYPI_MIRROR_URL": A, "REQUESTS_CA_BUNDLE": "/etc/cert.pem"}
    assert settings.uv_environ({"UV_DEFAULT_INDEX": B, "SSL_CERT_FILE": "mine"}) == {}
    assert Index().uv_environ({}) == Index().poetry_environ({}) == {}


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "POETRY_PYPI_MIRROR_URL"])
def test_a_page_to_sign_in_is_asked_for_where_the_tool_was_sent(tmp_path, name):
    write(tmp_path / "pip", "<title>Welcome</title><form></form>")
    with Server(tmp_path) as server:
        error = index.not_an_index({name: server.url}, ["No solution found when resolving dependencies:"])
    assert "shows a web page, “Welcome”" in error.message
