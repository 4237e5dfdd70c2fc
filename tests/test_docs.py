"""README and docs/: the site builds without a network, links lead somewhere, and what is shown can be typed."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest
from conftest import ROOT
from IPython.core.inputtransformer2 import TransformerManager

import colab_env
from colab_env import cli, env_cli, errors

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[tuple[str, str]]:
    """Return every block of code in that language, with the page's name."""
    return [
        (path.name, text)
        for path in PAGES
        for found, text in _BLOCK.findall(path.read_text("utf-8"))
        if found == language
    ]


def commands() -> list[tuple[str, str]]:
    """Return every line that calls the command, without comments, prompts and what a shell does with its output."""
    lines = []
    for page, text in blocks("console") + blocks("sh"):
        for line in text.replace("\\\n", " ").splitlines():
            plain = re.sub(r"\s+#\s.*$", "", line).removeprefix("$ ")
            lines += [(page, part.strip()) for part in re.split(r"&&|\||;", plain)]
    return [(page, line) for page, line in lines if re.match(r"(\S*/)?colab-env\s", line)]


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_that_is_shown_is_one_that_the_command_line_knows(page, line, capsys):
    words = shlex.split(re.sub(r"\s>+\s*\S+|\s<\s*\S+|2>&1", "", line))[1:]
    own, _ = env_cli.split_command_line([word for word in words if word != "…"])
    try:
        cli._parser().parse_args(own)
        code = 0
    except SystemExit as stop:  # --help and --version end so, with 0
        code = stop.code
    assert code == 0, capsys.readouterr().err


def calls(text: str) -> list[tuple[str, ast.Call]]:
    """Return the calls of colab_env's functions in a cell: the dotted name, and the call."""
    tree = ast.parse(TransformerManager().transform_cell(text))
    dotted = [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(name.removeprefix("colab_env."), node) for name, node in dotted if name.startswith("colab_env.")]


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_every_cell_that_is_shown_parses_and_its_calls_fit_the_functions(page, text):
    if text.startswith("%%"):
        text = text.partition("\n")[2]
    for name, call in calls(text):
        function = colab_env
        for part in name.split("."):
            function = getattr(function, part)
        positional = [None for _ in call.args]
        inspect.signature(function).bind(*positional, **dict.fromkeys(word.arg for word in call.keywords))


def test_the_site_builds_strictly_and_reaches_no_network(tmp_path):
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    dead = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environ = {**os.environ, **dead, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {path.stem for path in (tmp_path / "site").glob("*.html")} - {"404"}
    assert pages == {path.stem for path in (ROOT / "docs").glob("*.md")}
    fetched = re.findall(r'(?:src|href)="(https?://[^"]+)"', (tmp_path / "site/how-it-works.html").read_text("utf-8"))
    assert [address for address in fetched if "squidfunk.github.io" not in address] == []


def error_classes(base: type[errors.ColabEnvError]) -> set[type[errors.ColabEnvError]]:
    children = [child for child in base.__subclasses__() if child.__module__ == errors.__name__]
    return {base}.union(*(error_classes(child) for child in children))


def test_every_error_has_its_line_in_the_docs():
    rows = re.findall(r"^\| (\d+) \| (\w+|\(none\)) \|", (ROOT / "docs/errors.md").read_text("utf-8"), re.MULTILINE)
    assert {(str(kind.exit_code), kind.__name__) for kind in error_classes(errors.ColabEnvError)} == {
        row for row in rows if row[1] != "(none)"
    }


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= 900


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files_that_are_there(path):
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text("utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_public_functions_are_documented_and_typed():
    functions = [getattr(colab_env, name) for name in colab_env.__all__ if inspect.isfunction(getattr(colab_env, name))]
    assert [function.__name__ for function in functions if not function.__doc__] == []
    assert [function.__name__ for function in functions if "return" not in get_type_hints(function)] == []
    assert (Path(colab_env.__file__).parent / "py.typed").exists()
