"""Nothing that colab-env prints or keeps tells a secret: passwords, tokens in paths and queries, in variables."""

from __future__ import annotations

import functools
import json
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import ROOT
from small_wheels import write_wheel

import colab_env
from colab_env import _process, _report, cli, index
from colab_env.errors import ColabEnvError, CommandError
from colab_env.machine import Machine
from colab_env.named_env.recipe import Recipe

USER, PATH, QUERY, VALUE = "usr-s3cret", "path-s3cret", "query-s3cret", "value-s3cret"
SECRETS = (USER, PATH, QUERY, VALUE)
# Nothing listens there.
INDEX = f"http://ada:{USER}@127.0.0.1:9/{PATH}/pypi/?token={QUERY}"
INSTALLER = f"http://ada:{USER}@127.0.0.1:9/{PATH}/x.sh?token={QUERY}"
REQUIREMENT = f"six @ http://ada:{USER}@127.0.0.1:9/{PATH}/six-1.16.0-py3-none-any.whl?token={QUERY}"


@pytest.fixture
def private(project, monkeypatch):
    """A project with a requirement, on a machine with an index, that hold secrets of every kind."""
    monkeypatch.setenv("PIP_INDEX_URL", INDEX)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", INDEX)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("MY_API_TOKEN", VALUE)
    monkeypatch.setenv("COLAB_ENV_BASE", str(project.parent / "envs"))
    (project / "requirements.txt").write_text(f"{REQUIREMENT}\nnothing-of-that-name==1\n")
    (project / "lesson.py").write_text(f'# /// script\n# dependencies = ["{REQUIREMENT}"]\n# ///\n')
    return project


class Quiet(SimpleHTTPRequestHandler):
    """A web server that writes down nothing."""

    def log_message(self, *_words: object) -> None:
        pass


def leaked(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


COMMANDS = [
    ["plan", "--interpreter", "uv", "--python", "3.9"],
    ["plan", "--interpreter", "system"],
    ["setup", "--interpreter", "system"],
    ["install-python", "--interpreter", "system"],
    ["install-poetry"],
    ["install-colab-packages"],
    ["configure-venv"],
    ["status"],
    ["kernel", "list"],
    ["undo", "--dry-run"],
    ["env", "list"],
    ["env", "create", "web", REQUIREMENT],
    ["env", "create", "web", "--project", "."],
    [
        "install-miniconda",
        "--prefix",
        "conda",
        "--installer",
        f"http://ada:{USER}@127.0.0.1:9/{PATH}/x.sh?token={QUERY}",
        "--sha256",
        "0" * 64,
    ],
]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words[:3]))
def test_no_command_tells_a_secret(private, command, as_json, capsys, monkeypatch):
    monkeypatch.chdir(private)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    cli.main([*command, *(["--json"] if as_json else [])])
    monkeypatch.chdir(ROOT)
    shown = capsys.readouterr()
    logs = "".join(file.read_text() for file in (Machine.detect().data / "logs").glob("*"))
    assert leaked(shown.out + shown.err + logs) == []
    if as_json and shown.out:
        json.loads(shown.out)


def test_a_plan_shows_where_a_requirement_comes_from_and_no_more(private):
    plan = colab_env.plan("3.9", interpreter="uv", project=private)
    (row,) = (each for each in plan.rows if each.name == "six")
    assert row.wanted == "http://***@127.0.0.1:9/***/six-1.16.0-py3-none-any.whl"
    assert leaked(repr(plan) + plan._repr_html_() + json.dumps(plan.as_dict())) == []


def test_what_a_program_prints_loses_the_secrets_of_its_environment(private):
    environ = {**os.environ, **index.settings(Machine.detect()).uv_environ({})}
    script = 'echo "$UV_DEFAULT_INDEX $MY_API_TOKEN"; exit 3'
    with pytest.raises(CommandError) as caught:
        _process.run(["sh", "-c", script], environ=environ)
    assert leaked(str(caught.value)) == []
    assert caught.value.lines[0].startswith("http://***@127.0.0.1:9/***")


def test_the_path_of_an_index_is_no_secret_elsewhere(private):
    environ = {**os.environ, "UV_DEFAULT_INDEX": "https://host/usr"}
    assert _process.run(["echo", "/usr/bin/python3 https://host/usr/six/"], environ=environ).lines == (
        "/usr/bin/python3 https://host/***/six/",
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://host/TOKEN/simple/six/", "https://host/***/simple/six/"),
        ("https://host/TOKEN/+simple", "https://host/***/+simple"),
        ("https://host/simple/six/six-1-py3-none-any.whl", "https://host/***/six-1-py3-none-any.whl"),
        ("https://host/simple", "https://host/simple"),
        ("https://host/a?x=TOKEN&y=TOKEN#z", "https://host/a?x=***&y=***#z"),
        ("https://host?TOKEN", "https://host?***"),
        ("(https://host/TOKEN/x.tar.gz)", "(https://host/***/x.tar.gz)"),
        ("file:///home/ada/x.whl", "file:///home/ada/x.whl"),
        ("https://github.com/ada/x.git@main", "https://github.com/ada/x.git@main"),
    ],
)
def test_addresses_are_shown_without_what_may_be_a_secret(text, shown):
    assert _report.clean(text) == shown


def test_errors_lose_secrets_wherever_they_are_raised():
    error = ColabEnvError(f"no http://ada:{USER}@host/{PATH}/simple/x?token={QUERY}", hint=f"see {REQUIREMENT}")
    assert leaked("".join([str(error), *error._render_traceback_(), repr(error)])) == []


def test_a_receipt_has_addresses_without_passwords_and_queries():
    recorded = Recipe(packages=(REQUIREMENT, "six==1", "./a b.whl")).recorded()
    assert recorded.packages == (f"six @ http://127.0.0.1:9/{PATH}/six-1.16.0-py3-none-any.whl", "six==1", "./a b.whl")


@pytest.mark.network
def test_success_tells_no_secret_and_keeps_none(home, tmp_path, monkeypatch, capsys):
    wheels = tmp_path / PATH
    wheels.mkdir()
    write_wheel(wheels, "small", "1.0")
    monkeypatch.setenv("COLAB_ENV_BASE", str(tmp_path / "envs"))
    handler = functools.partial(Quiet, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"127.0.0.1:{server.server_port}/{PATH}/{next(wheels.iterdir()).name}"
        code = cli.main(["env", "create", "web", f"small @ http://ada:{USER}@{place}?token={QUERY}"])
        server.shutdown()
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert leaked((shown.out + shown.err).replace(str(tmp_path), "")) == []
    receipt = (tmp_path / "envs/web/colab-env.json").read_text()
    assert USER not in receipt
    assert QUERY not in receipt
