"""What `import colab_env` gives inside an environment's kernel: each call is made by the machine's own Python.

A copy lies in every kernel layer as the package `colab_env`, with `machine.json` beside it. So one notebook runs from
the top in every kernel, whatever that kernel's Python (3.6 or newer) has installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from . import _leave

_HERE = Path(__file__).resolve().parent
_LONGEST = 20000  # characters; Linux takes 128 kB as one argument
_CALL = """\
import sys
sys.path[:] = [entry for entry in sys.path if entry]  # not the notebook's directory, where a json.py may be
import dataclasses, importlib, io, json, pathlib
path, name, arguments, options = json.loads(sys.argv[1])
sys.path.append(path)
from colab_env import _report, errors
def sent(value):
    if dataclasses.is_dataclass(value):
        fields = {field.name: sent(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"text": repr(value), "fields": fields, "html": getattr(value, "_repr_html_", lambda: None)()}
    if isinstance(value, pathlib.PurePath):
        return {"path": str(value)}
    if isinstance(value, dict):
        return {"items": {str(key): sent(item) for key, item in value.items()}}
    if isinstance(value, (list, tuple)):
        return [sent(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float)) else {"text": repr(value), "fields": {}, "html": None}
module, _, member = name.rpartition(".")
try:
    # The answer repeats the lines that a step leaves.
    with _report.screen(_report.Plain(keep_to=io.StringIO())):
        try:
            verb = getattr(importlib.import_module(module), member)
        except AttributeError as error:  # which says what was meant
            raise errors.UsageError(str(error)) from None
        result = verb(*arguments, **options)
except errors.ColabEnvError as error:
    answer = {"error": [error.message, error.hint]}
else:
    answer = {"result": sent(result)}
print(json.dumps(answer))
"""


class ColabEnvError(Exception):
    """Say what is wrong and what to do next, as the package's own errors do."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class Answer(str):
    """The text that the package's own result would show, its card or None, and its fields, such as `where` of a kernel."""

    __slots__ = ("_fields", "html")
    html: Any
    _fields: "dict[str, Any]"

    __repr__ = str.__str__

    def _repr_html_(self) -> Any:
        return self.html

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._fields:
            raise AttributeError(name)
        return self._fields[name]


def switch(name: str | None, *, how: str | None = None, default: bool = False) -> None:
    """Continue this notebook on another kernel: see `colab_env.switch`."""
    _leave.leave(_call("colab_env.switching.planned", name, how=how, default=default))


class Named:
    """Something of the package by its name: it can be called, or be a module, such as `envs`, with more in it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *arguments: object, **options: object) -> Any:
        if self._name == "colab_env.native.explain" and not arguments and not {"text", "log"} & set(options):
            text = _last_exception()  # which is this process's
            arguments = (text,) if text else ()
        return _call(self._name, *arguments, **options)

    def __getattr__(self, name: str) -> "Named":
        return _named(f"{self._name}.{name}")

    def __repr__(self) -> str:
        return f"<{self._name}, of the machine's own Python>"


def _last_exception() -> str:
    """Return the traceback of the last cell that failed, as far as it goes into a command line, or an empty text."""
    error = getattr(sys, "last_value", None)
    if error is None:
        return ""
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))[-_LONGEST:]


def _named(name: str) -> Named:
    if name.rpartition(".")[2].startswith("_"):
        raise AttributeError(name)
    return Named(name)


def __getattr__(name: str) -> Any:
    return _named("colab_env." + name)


if sys.version_info < (3, 7):  # which does not ask a module for __getattr__

    class _Module(type(sys)):
        def __getattr__(self, name):
            return __getattr__(name)

    sys.modules[__name__].__class__ = _Module


def load_ipython_extension(shell: Any) -> None:
    """Add the magics."""
    from . import _remote_magics

    _remote_magics.load(shell)


def _call(name: str, *arguments: object, **options: object) -> Any:
    machine = json.loads((_HERE / "machine.json").read_text(encoding="utf-8"))
    question = json.dumps([machine["path"], name, arguments, options], default=str)
    answer = json.loads(_run([machine["python"], "-c", _CALL, question]))
    if "error" in answer:
        message, hint = answer["error"]
        raise ColabEnvError("\n".join([message] + (["→ " + hint] if hint else [])))
    return _received(answer["result"])


def _received(value: Any) -> Any:
    """Return what the other process has sent: results as `Answer`, paths as paths, the rest as it is."""
    if isinstance(value, list):
        return tuple(_received(item) for item in value)
    if not isinstance(value, dict):
        return value
    if "path" in value:
        return Path(value["path"])
    if "items" in value:
        return {key: _received(item) for key, item in value["items"].items()}
    result = Answer(value["text"])
    result.html, result._fields = value["html"], _received({"items": value["fields"]})
    return result


def _run(argv: list[str]) -> str:
    """Run a program, show what it prints while it works, and return its last line."""
    child = subprocess.Popen(
        argv,
        env=_environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    line = ""
    with child:
        for text in child.stdout or ():
            if line:
                print(line, end="", flush=True)
            line = text
    if child.returncode != 0:
        raise ColabEnvError("the machine's own Python could not do it:\n" + line)
    return line


def _environ() -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    file = _leave.own_connection_file()
    variables = {"CONNECTION_FILE": file, "INTERPRETER": sys.executable, "PROCESS": str(os.getpid())}
    environ.update({"COLAB_ENV_" + name: value for name, value in variables.items() if value})
    return dict(environ, PYTHONUNBUFFERED="1")
