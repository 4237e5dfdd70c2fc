"""Run Colab's own kernel on any IPython from 7.34 to 9.

This file is copied into an environment as the module `colab_env_kernel`; a kernelspec names its `Kernel` with
`--IPKernelApp.kernel_class`. It runs inside that environment, so it imports nothing of colab_env.

google.colab is written against IPython 7.34. Later versions lack some of what it uses: the kernel then dies at start
(IPython 9) or answers every completion and inspection with nothing (IPython 8). Only what is missing is put back. It also
knows pandas up to 2, ipywidgets up to 7 and Altair up to 5; what it does for those is done for later ones, too.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.metadata
import importlib.util
import inspect
import itertools
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

from IPython.core import events, formatters, inputtransformer2, oinspect
from IPython.utils import coloransi

# The name at the end of the text, unless it is an attribute of something that is not a name: `f().x`.
_DOTTED_NAME = re.compile(r"(?<![\w.)\]])[^\W\d][\w.]*$")


def _supply(owner: object, **members: object) -> None:
    for name, member in members.items():
        if not hasattr(owner, name):
            setattr(owner, name, member)


def _get_field(info: object, name: str) -> Any:
    return getattr(info, name)


def _pop_field(info: object, name: str, default: object = None) -> Any:
    value = getattr(info, name, default)
    setattr(info, name, None)
    return value


def _keeping_fields(object_info: Any) -> Any:
    return lambda **fields: {"subclasses": None, **object_info(**fields), **fields}


def _find_system_assign(cls: Any, tokens_by_line: Any) -> Any:
    for line in tokens_by_line:
        number = inputtransformer2._find_assign_op(line)  # noqa: SLF001
        if number and line[number].string == "=" and line[number + 1].string == "!":
            return cls(line[number + 1].start)
    return None


def _mend_ipython() -> None:
    # IPython 9 dropped these. Without `getargspec` nothing fails, the page just shows no parameters.
    _supply(coloransi.TermColors, Normal="\033[0m", Red="\033[0;31m", Green="\033[0;32m")
    _supply(oinspect, getargspec=inspect.getfullargspec)
    # Since 8.12 a dataclass describes an object that was found; google.colab reads the dictionary of before.
    if hasattr(oinspect, "OInfo"):
        _supply(oinspect.OInfo, __getitem__=_get_field, pop=_pop_field)
    # From Python 3.12 on `!` is an operator to the tokenizer; IPython 7.34 waits for an error, so `x = !cmd` fails.
    if sys.version_info >= (3, 12) and not hasattr(inputtransformer2.SystemAssign, "find_post_312"):
        inputtransformer2.SystemAssign.find = classmethod(_find_system_assign)
    # Some versions from 8.13 on return the fields that are empty and lose those that were given. And `name?` reads a field
    # that IPython's own inspector adds and google.colab's does not.
    if not {"file", "subclasses"} <= {*oinspect.object_info(name="", found=True, file="")}:
        oinspect.object_info = _keeping_fields(oinspect.object_info)


# The classes' names as google.colab registers its tables for them, and as pandas 3 names them.
_PANDAS_3 = {
    ("pandas.core.frame", "DataFrame"): ("pandas", "DataFrame"),
    ("pandas.core.series", "Series"): ("pandas", "Series"),
}


def _mend_tables() -> None:
    register, remove = formatters.BaseFormatter.for_type_by_name, formatters.BaseFormatter.pop

    def for_type_by_name(formatter: Any, module: str, name: str, show: Any = None) -> Any:
        if (module, name) in _PANDAS_3:
            register(formatter, *_PANDAS_3[module, name], show)
        return register(formatter, module, name, show)

    def pop(formatter: Any, kind: Any, *default: Any, **named: Any) -> Any:
        module, _, name = kind.rpartition(".") if isinstance(kind, str) else ("", "", "")
        if (module, name) in _PANDAS_3:
            remove(formatter, ".".join(_PANDAS_3[module, name]), None)
        return remove(formatter, kind, *default, **named)

    formatters.BaseFormatter.for_type_by_name, formatters.BaseFormatter.pop = for_type_by_name, pop


def _show_widget(widget: Any) -> None:
    """Show a widget as ipywidgets 7 does, by a message of its own; what is shown as a value meets none of Colab's hooks."""
    from IPython.display import display

    if hasattr(widget, "_ipython_display_"):
        widget._ipython_display_()
        return
    bundle = widget._repr_mimebundle_()
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle, None)
    display(data, raw=True, metadata=metadata)


class _Altair:
    """Choose the renderer for Colab when a later Altair is imported; google.colab knows it up to version 5."""

    _LATER = re.compile(r"altair\.vegalite\.v([6-9]|\d\d+)")

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if not self._LATER.fullmatch(name):
            return None
        from google.colab._import_hooks import _hook_injector  # type: ignore[import-not-found]

        def enable(module: Any, _: object) -> None:
            module.renderers.enable("colab")

        loader = _hook_injector.HookInjectorLoader(name, path, target, type(self), enable)
        return importlib.util.spec_from_loader(name, loader) if loader.find_spec() else None


class _WithoutArguments:
    """A function that runs before or after each cell and takes nothing. It equals the function, so that it can be taken out."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, *_: object) -> Any:
        return self.function()

    def __eq__(self, other: object) -> bool:
        return bool(self.function == getattr(other, "function", other))

    __hash__ = None  # type: ignore[assignment]


def _mend_callbacks() -> None:
    # IPython 7 called a function with as many arguments as it takes, and so notebooks and google.colab (for Bokeh) have them.
    if hasattr(events, "callback_prototype"):
        return
    register = events.EventManager.register

    def register_any(manager: Any, event: str, function: Any) -> None:
        with contextlib.suppress(TypeError, ValueError):  # what has no signature, or takes an argument, stays as it is
            inspect.signature(function).bind()
            function = _WithoutArguments(function)
        register(manager, event, function)

    events.EventManager.register = register_any


def _mend_tabs() -> None:
    from google.colab.output import _util  # type: ignore[import-not-found]

    everything = _util.flush_all

    def flush_all() -> None:
        """Flush figures where there can be any: a project without matplotlib has tabs and grids, too."""
        if importlib.util.find_spec("matplotlib"):
            everything()
        else:
            sys.stdout.flush()
            sys.stderr.flush()

    _util.flush_all = flush_all


def _packages_distributions() -> dict[str, list[str]]:
    """Return the distributions that bring each top-level module or package."""
    found: dict[str, list[str]] = {}
    for distribution in importlib.metadata.distributions():
        names = (distribution.read_text("top_level.txt") or "").split()
        paths = [] if names else [file for file in distribution.files or () if file.suffix == ".py"]
        for name in {*names, *(path.parts[0] if len(path.parts) > 1 else path.stem for path in paths)}:
            found.setdefault(name, []).append(distribution.metadata["Name"])
    return found


def _definition(function: Any) -> str | None:
    """Return the first line of a function, without `self`; its defaults as google.colab shows them, which calls no repr()."""
    with contextlib.suppress(ValueError):  # one that wraps itself
        function = inspect.unwrap(function)
    if not inspect.isroutine(function) or not hasattr(function, "__code__"):
        return None
    definition = _inspector.ColabInspector._getdef(None, function, function.__name__)  # noqa: SLF001
    beginning = "async def" if inspect.iscoroutinefunction(function) else "def"
    return definition and re.sub(r"\(self(, |(?=\)))", "(", f"{beginning} {definition}", count=1)


def _pairwise(items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    known = list(items)
    return ((known[number], known[number + 1]) for number in range(len(known) - 1))


def _mend_charts() -> None:
    from google.colab import _quickchart  # type: ignore[import-not-found]

    _quickchart.itertools = SimpleNamespace(**{**vars(itertools), "pairwise": _pairwise})


_mend_ipython()
_mend_callbacks()
_mend_tables()
try:
    from google.colab import _inspector, _kernel, _pip, _shell
except Exception:
    # The kernel application says only that this module "could not be imported", never why.
    traceback.print_exc()
    raise
if sys.version_info < (3, 11):  # older ones have no such function, or it knows only packages with a top_level.txt
    # Of importlib it uses nothing else.
    _pip.importlib = SimpleNamespace(metadata=SimpleNamespace(packages_distributions=_packages_distributions))
if not hasattr(ast, "unparse"):  # Python 3.8
    _inspector.get_source_definition = _definition
if not hasattr(itertools, "pairwise"):  # Python 3.9 and older
    with contextlib.suppress(ImportError):
        _mend_charts()


with contextlib.suppress(ImportError):
    _mend_tabs()


class Shell(_shell.Shell):  # type: ignore[misc]
    """Name Colab's inspector where IPython 9 looks for it: there, `init_inspector` is never called."""

    inspector_class = _inspector.ColabInspector

    def init_display_formatter(self) -> None:
        """Show widgets of ipywidgets 8 where Colab's hooks see them."""
        super().init_display_formatter()
        formatter = self.display_formatter.ipython_display_formatter
        formatter.for_type_by_name("ipywidgets.widgets.widget", "Widget", _show_widget)
        sys.meta_path.insert(0, _Altair())


class Kernel(_kernel.Kernel):  # type: ignore[misc]
    """Serve Colab's page: completion with types, structured inspection, shell commands that read input."""

    def _shell_class_default(self) -> type[Shell]:
        return Shell

    def do_complete(self, code: str, cursor_pos: int) -> dict[str, Any]:
        """Complete `np.ze` to `np.zeros`; IPython 8 and 9 say `.zeros`, a name whose type nobody can look up."""
        reply: dict[str, Any] = super().do_complete(code, cursor_pos)
        matches = reply["matches"]
        owner = _DOTTED_NAME.search(code[: reply["cursor_start"]])
        if owner and all(match.startswith(".") for match in matches):
            reply.update(matches=[owner[0] + match for match in matches], cursor_start=owner.start())
        return reply
