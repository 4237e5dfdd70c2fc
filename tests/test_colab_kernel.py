"""What our kernel mends: versions newer than google.colab knows. Each with a test that fails when Google mends it, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from colab_standin import real_google_colab
from conftest import ROOT

STANDALONE = ROOT / "colab_env/standalone"
BEGIN = f"import sys; sys.path[:0] = [{str(STANDALONE)!r}, {str(ROOT / 'tests/colab_standin/dist_packages')!r}, sys.argv[1]]\n"
needs_real = pytest.mark.skipif(real_google_colab() is None, reason="only the real google.colab says it")


def said(tmp_path: Path, code: str, **environ: str) -> str:
    """Return what code prints that can import our kernel, with the stand-in's google.colab."""
    (tmp_path / "ipython_genutils").mkdir()  # which the stand-in imports, as google.colab does
    (tmp_path / "ipython_genutils/__init__.py").write_text("")
    (tmp_path / "ipython_genutils/py3compat.py").write_text("cast_unicode = str\n")
    argv = [sys.executable, "-W", "ignore", "-c", BEGIN + code, str(tmp_path)]
    done = subprocess.run(argv, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


COLOURS = """
import os, json
import _launch
{mend}
from ipykernel.zmqshell import ZMQInteractiveShell
ZMQInteractiveShell.init_environment(None)
print(json.dumps({{name: os.environ.get(name) for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR")}}))
"""


def test_programs_are_not_told_to_colour_what_goes_into_a_pipe(tmp_path: Path) -> None:
    found = json.loads(said(tmp_path, COLOURS.format(mend="_launch.leave_colours()"), FORCE_COLOR="given"))
    assert found == {"FORCE_COLOR": "given", "CLICOLOR_FORCE": None, "CLICOLOR": "1"}


def test_ipykernel_still_tells_them(tmp_path: Path) -> None:
    found = json.loads(said(tmp_path, COLOURS.format(mend="")))
    assert found["FORCE_COLOR"] == "1", "ipykernel has mended it: leave_colours() can go when no pinned version does it"


TABLES = """
import _colab_kernel
from IPython.core.formatters import HTMLFormatter
class DataFrame: pass
DataFrame.__module__ = {module!r}
html, frame = HTMLFormatter(), DataFrame()
html.for_type_by_name("pandas.core.frame", "DataFrame", lambda _: "a table")
shown = html(frame)
if {shown_first}: html(frame)
html.pop("pandas.core.frame.DataFrame")
print(shown, html(frame))
"""


@pytest.mark.parametrize("shown_first", [True, False])
@pytest.mark.parametrize("module", ["pandas.core.frame", "pandas"])
def test_tables_are_shown_by_the_name_of_their_class_in_pandas_2_and_3(
    tmp_path: Path, module: str, *, shown_first: bool
) -> None:
    assert said(tmp_path, TABLES.format(module=module, shown_first=shown_first)) == "a table None"


WIDGETS = """
import _colab_kernel
from IPython.core import formatters
class Widget:
    def {method}(self, **_):
        {body}
Widget.__module__ = "ipywidgets.widgets.widget"
class Slider(Widget): pass
class Publisher:
    def publish(self, data, metadata=None, **_): print("published", data)
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.display_pub.publish = Publisher().publish
formatter = formatters.IPythonDisplayFormatter()
formatter.for_type_by_name("ipywidgets.widgets.widget", "Widget", _colab_kernel._show_widget)
formatter(Slider())
"""


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("_repr_mimebundle_", "return {'view': 1}"),
        ("_ipython_display_", "from IPython.display import display; display({'view': 1}, raw=True)"),
    ],
)
def test_a_widget_is_a_message_of_its_own_in_ipywidgets_7_and_8(tmp_path: Path, method: str, body: str) -> None:
    assert said(tmp_path, WIDGETS.format(method=method, body=body)) == "published {'view': 1}"


ALTAIR = """
import types
injector = types.ModuleType("google.colab._import_hooks._hook_injector")
class HookInjectorLoader:  # as Google's: it is called back when the module has been run
    def __init__(self, name, path, target, finder, then): self.name, self.finder, self.then = name, finder, then
    def find_spec(self):
        others = (each for each in sys.meta_path if not isinstance(each, self.finder))
        return next(filter(None, (each.find_spec(self.name, path()) for each in others)), None)
    def create_module(self, _spec):
        import importlib.util
        spec = self.find_spec()
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.then(module, False)
        return module
    def exec_module(self, _module): pass
def path():
    import altair.vegalite
    return altair.vegalite.__path__
injector.HookInjectorLoader = HookInjectorLoader
sys.modules["google.colab._import_hooks"] = types.ModuleType("google.colab._import_hooks")
sys.modules["google.colab._import_hooks._hook_injector"] = sys.modules["google.colab._import_hooks"]._hook_injector = injector
import _colab_kernel
sys.meta_path.insert(0, _colab_kernel._Altair())
import altair.vegalite.v6
"""


def test_altair_6_gets_the_renderer_for_colab(tmp_path: Path) -> None:
    package = tmp_path / "altair/vegalite"
    package.mkdir(parents=True)
    for place in (package.parent, package):
        (place / "__init__.py").write_text("")
    (package / "v6.py").write_text("class renderers:\n    def enable(name): print('renderer', name)\n")
    assert said(tmp_path, ALTAIR) == "renderer colab"


TABS = """
import types
util = types.ModuleType("google.colab.output._util")
util.flush_all = lambda: print("figures")
output = sys.modules["google.colab.output"] = types.ModuleType("google.colab.output")
output._util = util
import _colab_kernel
util.flush_all()
{matplotlib}
util.flush_all()
"""


CALLBACKS = """
import _colab_kernel
from IPython.core.events import EventManager, available_events
class Inspector:
    def fill(self): calls.append("filled")
calls, manager, inspector = [], EventManager(None, available_events), Inspector()
manager.register("post_run_cell", inspector.fill)
manager.register("post_run_cell", calls.append)
manager.register("post_execute", inspector.fill)
manager.trigger("post_run_cell", "a result")
manager.trigger("post_execute")
manager.unregister("post_run_cell", inspector.fill)
manager.trigger("post_run_cell", "another")
print(*calls)
"""


def test_what_runs_after_a_cell_may_take_nothing_as_in_ipython_7(tmp_path: Path) -> None:
    assert said(tmp_path, CALLBACKS) == "filled a result filled another"


def test_tabs_need_no_matplotlib(tmp_path: Path) -> None:
    matplotlib = "open(sys.argv[1] + '/matplotlib.py', 'w').close(); import importlib; importlib.invalidate_caches()"
    assert said(tmp_path, TABS.format(matplotlib=matplotlib)) == "figures"


HELP = """
from IPython.core import oinspect
oinspect.object_info = lambda **fields: {{**dict.fromkeys({empty}), **fields}}  # as in IPython {version}
import _colab_kernel
print(oinspect.object_info(name="f")["subclasses"], oinspect.object_info(subclasses="A, B")["subclasses"])
"""


@pytest.mark.parametrize(("version", "empty"), [("8.12", ["file"]), ("9", ["file", "subclasses"])])
def test_help_with_a_question_mark_finds_the_field_that_google_colab_does_not_give(
    tmp_path: Path, version: str, empty: list[str]
) -> None:
    assert said(tmp_path, HELP.format(version=version, empty=empty)) == "None A, B"


OLD_PYTHON = """
import ast, importlib.metadata, itertools, types
import ipykernel.ipkernel  # of this Python, with what it imports of later ones
for owner, name in ((ast, "unparse"), (itertools, "pairwise")):
    if hasattr(owner, name): delattr(owner, name)
importlib.metadata.packages_distributions = dict  # as on 3.10 where no package has a top_level.txt
sys.version_info = (3, 10, 0)
chart = sys.modules["google.colab._quickchart"] = types.ModuleType("google.colab._quickchart")
import _colab_kernel
from google.colab import _inspector, _pip
class Own:
    def method(self, word, times=2): pass
    def alone(self): pass
    async def later(self): pass
def own(selfish): pass
def endless(): pass
endless.__wrapped__ = endless
show = _inspector.get_source_definition
print(_pip.importlib.metadata.packages_distributions()[{module!r}])
tools = chart.itertools
print([*tools.islice(tools.pairwise("abc"), 5)], [*tools.chain("a", "b")], hasattr(itertools, "pairwise"))
print(show(Own.method), show(Own.alone), show(Own().later), show(own), *map(show, [endless, Own, len, 3]), sep="; ")
"""


def test_what_google_colab_uses_of_later_pythons_it_finds_on_older_ones(tmp_path: Path) -> None:
    information = tmp_path / "own_project-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: own-project\nVersion: 1.0\n")
    (information / "RECORD").write_text("own_package/__init__.py,,\nown_module.py,,\n../x/script,,\n")
    packages, charts, definitions = said(tmp_path, OLD_PYTHON.format(module="own_package")).splitlines()
    assert packages == "['own-project']"
    assert charts == "[('a', 'b'), ('b', 'c')] ['a', 'b'] False"
    assert (
        definitions
        == "def method(word, times=2); def alone(); async def later(); def own(selfish); None; None; None; None"
    )


@needs_real
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("_interactive_table_hint_button.py", "'pandas.core.frame', 'DataFrame'", "'pandas', 'DataFrame'"),
        ("_reprs.py", "'pandas.core.series', 'Series'", "'pandas', 'Series'"),
        ("_import_hooks/_altair.py", "altair.vegalite.v5", "altair.vegalite.v6"),
        ("_import_hooks/_bokeh.py", "def _post_execute():", "def _post_execute(_"),
        ("output/_util.py", "backend_inline import flush_figures", "'matplotlib' in sys.modules"),
        ("_quickchart.py", "itertools.pairwise(", "zip(colnames"),
        ("_pip.py", "importlib.metadata.packages_distributions()", "top_level.txt"),
        ("_inspector.py", "ast.unparse(", "'subclasses'"),
        ("output/_widgets.py", "display_pub.register_hook", "displayhook.register_hook"),
    ],
)
def test_google_has_not_mended_it(file: str, old: str, new: str) -> None:
    tree = real_google_colab()
    assert tree is not None
    text = (tree / file).read_text(encoding="utf-8")
    assert (old in text, new in text) == (True, False), f"{file} has changed: _colab_kernel.py may leave that to it"
