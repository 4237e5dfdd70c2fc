"""The features: a name, the code of a cell, and what must come back.

To add one, add a line: `wants` is text that the cell shows, or texts, or a function of the cell. Code before `# ---` runs as a
cell of its own. What is more than cells has a function `act` of the notebook that says whether it works. A feature that
`asks` the page is tried with the page's `good` answer, with that answer after some seconds, with a `refused` one, and with an
error; what must come back then stands beside each. A feature is left out where a module that it `needs` is not installed.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from colab_standin import Cell, Refusal

from tests.features.notebook import Notebook, sent, shown

Wants = str | tuple[str, ...] | Callable[[Cell], object]
_NO = "the page says no"
_DENIED, _WAS_DENIED = Refusal(error="access denied"), ("MessageError", "access denied")


@dataclass(frozen=True, kw_only=True)
class Asks:
    """What a feature asks the page: the request's type, the good answer and the refused one, with what comes back then.

    `error` is what comes back when the page answers with an error; None where a feature does not wait for the answer.
    """

    kind: str
    good: Any
    refused: Any = None
    then: Wants = ""
    error: Wants | None = ("MessageError", _NO)

    @property
    def answers(self) -> dict[str, tuple[Any, Wants | None]]:
        """Return the answers by name; the good one is to bring what the feature wants."""
        answers = {"good": (self.good, None), "slow": (self.good, None), "refused": (self.refused, self.then)}
        return answers if self.error is None else {**answers, "error": (Refusal(error=_NO), self.error)}


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One thing that a notebook on Colab can do."""

    group: str
    name: str
    code: str = ""
    wants: Wants = ""
    act: Callable[[Notebook], object] | None = None
    asks: Asks | None = None
    inputs: Sequence[str] = ()
    needs: tuple[str, ...] = ()

    def works(self, notebook: Notebook, answer: Any = None, wants: Wants | None = None) -> str | None:
        """Return None if it works, else what came instead."""
        if self.act is not None:
            return None if self.act(notebook) else "it does not"
        cells = [each.strip("\n") for each in self.code.split("# ---\n")]
        answers = {self.asks.kind: answer} if self.asks else {}
        cell = notebook.run(*cells, answers=answers, inputs=self.inputs)
        wanted = self.wants if wants is None else wants
        if callable(wanted):
            return None if wanted(cell) else f"not as expected: {shown(cell)[:300]!r}"
        text = shown(cell)
        missing = [each for each in ((wanted,) if isinstance(wanted, str) else wanted) if each not in text]
        return f"no {missing[0]!r} in {text[:300]!r}" if missing else None


@dataclass
class _Catalogue:
    """Collects features, group by group."""

    features: list[Feature] = field(default_factory=list)
    group: str = ""
    needs: tuple[str, ...] = ()

    def begin(self, group: str, *needs: str) -> None:
        """Name the group of the features that follow, and what all of them need."""
        self.group, self.needs = group, needs

    def add(self, name: str, code: str = "", wants: Wants = "", *, needs: tuple[str, ...] = (), **more: Any) -> None:
        """Add a feature."""
        both = (*self.needs, *needs)
        self.features.append(Feature(group=self.group, name=name, code=code, wants=wants, needs=both, **more))


def _all(catalogue: _Catalogue) -> tuple[Feature, ...]:
    for add in (_cells, _shell, _magics, _help, _errors, _page, _output, _files, _tables, _widgets, _google, _packages):
        add(catalogue)
    return tuple(catalogue.features)


def _cells(to: _Catalogue) -> None:
    to.begin("cells")
    to.add("a function that runs after a cell", _AFTER, "after that cell")
    to.add("value of the last line", "6 * 7", lambda cell: "42" in shown(cell).split())
    to.add("print, and the error stream", "import sys\nprint('o' 'ut')\nprint('e' 'rr', file=sys.stderr)", _streams)
    to.add("names stay", "kept = [1]\n# ---\nkept.append(2); print('kept', kept)", "kept [1, 2]")
    to.add("earlier results: `_`, `Out`, `In`", "20 + 1\n# ---\nprint('twice', _ * 2, len(In) > 1)", "twice 42 True")
    to.add("`input()`", "print(input('name? ') + '!')", "Ada!", inputs=["Ada"])
    to.add("`getpass()`", "import getpass\nprint(len(getpass.getpass()), 'letters')", "6 letters", inputs=["secret"])
    to.add("`await`", "import asyncio\nawait asyncio.sleep(0.01)\nprint('a' 'wake')", "awake")
    to.add("a task that goes on", _TASK, act=lambda notebook: _later(notebook, _TASK, "from the task"))
    to.add("a thread that prints after its cell", act=lambda notebook: _later(notebook, _THREAD, "from the thread"))
    to.add("what a program prints", "import subprocess\nsubprocess.run(['echo', 'from ' 'echo'])", "from echo")
    to.add("processes", "import multiprocessing\nprint(multiprocessing.Pool(2).map(abs, [-1, -2]))", "[1, 2]")
    to.add(
        "stop button", act=lambda notebook: _stopped(notebook, "print('x', flush=True)\nimport time\ntime.sleep(99)")
    )
    to.add("HTML", "from IPython.display import HTML\nHTML('<b>bold</b>')", "text/html: <b>bold</b>")
    to.add("Markdown and LaTeX", _MARKDOWN, ("text/markdown: *it*", "text/latex: $x$"))
    to.add("JavaScript", "from IPython.display import Javascript\nJavascript('go(1)')", "application/javascript: go(1)")
    to.add("an image", _IMAGE, "image/png: ", needs=("PIL",))
    to.add("sound", "from IPython.display import Audio\nAudio([0, 1, 0] * 99, rate=8000)", "<audio", needs=("numpy",))
    to.add(
        "a display that changes", _DISPLAY_ID, lambda cell: [each["text/html"] for each in cell.updates] == ["<i>2</i>"]
    )
    to.add(
        "`clear_output`",
        "from IPython.display import clear_output\nclear_output()",
        lambda cell: sent(cell, "clear_output"),
    )
    to.add("a progress bar", "from tqdm import tqdm\nfor _ in tqdm(range(3)): pass", "3/3", needs=("tqdm",))
    to.add("no colour codes for programs", _COLOURS, "forced []")
    to.add("text is marked as text", "'some text'", "{'type': 'string'}", needs=("google.colab._reprs",))
    to.add(
        "form fields are values", "n = 3 #@param {type:'slider', min:0}\n#@markdown Text\nprint('n is', n)", "n is 3"
    )
    to.add("a cell's title", "#@title A form { display-mode: 'form' }\nprint('un' 'der')", "under")
    to.add("executed cells have the page's ids", _EXECUTED, "cell-1", needs=("google.colab._history",))
    to.add("the notebook sees that it is on Colab", _ON_COLAB, "colab True True")
    to.add("the debugger answers", act=_debugger)
    to.add("sizes of variables", _SHAPE, "2 items", needs=("google.colab._debugpy_repr",))
    to.add("is the code complete?", act=_is_complete)


def _shell(to: _Catalogue) -> None:
    to.begin("shell")
    to.add("`!cmd`", "!echo o'ne'", "one")
    to.add("`!cmd` with a value", "word = 'two'\n!echo {word} $word", "two two")
    to.add("exit code of `!cmd`", "!exit 3\n# ---\nprint('code', _exit_code)", "code 3")
    to.add("`x = !cmd`", "x = !echo one; echo two\nprint(x == ['one', 'two'], x.n == 'one\\ntwo')", "True True")
    to.add("`!cmd` shows as it comes", act=_streamed)
    to.add("`!cmd` reads what is typed", act=_typed, needs=("google.colab._system_commands",))
    to.add("stop button in `!cmd`", act=lambda notebook: _ended(notebook.stop("!echo up; sleep 60")))
    to.add("`%%bash`", "%%bash\nx=5; echo five$x", "five5")
    to.begin("shell", "google.colab._system_commands")
    to.add("`%%shell`", "%%shell\nfor n in 1 2; do echo line$n; done", ("line1", "line2"))
    to.add("`%%shell` that fails", "%%shell\nexit 7", ("CalledProcessError", "exit status 7"))
    to.add(
        "`%%shell --ignore-errors`",
        "%%shell --ignore-errors\necho on; exit 7",
        lambda cell: "on" in cell.stdout and not cell.error,
    )
    to.add("`x = %shell cmd`", "x = %shell echo h'i'\nprint(x.returncode, x.output)", "0 hi")
    to.add("a command is a terminal's", "!test -t 1 && echo is a terminal", "is a terminal")


def _magics(to: _Catalogue) -> None:
    to.begin("magics")
    to.add("`%pip`", "%pip --version", "pip ")
    to.add(
        "`%cd`, `%env`, `%pwd`",
        "%cd -q /\n%env ANSWER=42\nimport os\nprint(os.getcwd(), os.environ['ANSWER'])\n%cd -q -",
        "/ 42",
    )
    to.add("`%time`, `%%time`", "%%time\nsum(range(9))", "Wall time")
    to.add("`%timeit`", "%timeit -n1 -r1 pass", "loop")
    to.add("`%%capture`", "%%capture held\nprint('inside')\n# ---\nprint('held', held.stdout.strip())", "held inside")
    to.add("`%%writefile`", "%%writefile written.txt\nwritten\n# ---\nprint(open('written.txt').read())", "written")
    to.add("`%%html`", "%%html\n<u>under</u>", "<u>under</u>")
    to.add("`%%javascript`", "%%javascript\ngo(2)", "go(2)")
    to.add("`%%python3`", "%%script python3\nprint('by a ' 'script')", "by a script")
    to.add("`%run`", "%%writefile ran.py\nran = 'was run'\n# ---\n%run ran.py\nprint(ran)", "was run")
    to.add("`%who`", "seen_by_who = 1\n%who int", "seen_by_who")
    to.add("`%history`", "'in the ' 'history'\n# ---\n%history -l 3", "in the ' 'history")
    to.add("`%load_ext autoreload`", _AUTORELOAD, "now 2")
    to.add("`%matplotlib inline`", _INLINE, "image/png: ", needs=("matplotlib",))
    to.add("a magic of one's own", _OWN_MAGIC, "OWN")
    to.add(
        "`%tensorflow_version`", "%tensorflow_version 2.x", "TensorFlow 2", needs=("google.colab._tensorflow_magics",)
    )
    to.add("`%%bigquery` is declared", _BIGQUERY, "declared True", needs=("google.colab._import_magics",))
    to.add(
        "installing what is imported: restart button",
        _RESTART,
        "pip_warning",
        needs=("google.colab._pip:print_previous_import_warning",),
    )


def _help(to: _Catalogue) -> None:
    to.begin("help")
    to.add("completion", act=lambda notebook: _completes(notebook, "special_na", "special_name"))
    to.add(
        "completion of attributes", act=lambda notebook: _completes(notebook, "special_text.upp", "special_text.upper")
    )
    to.add("completion with types", act=lambda notebook: _type(notebook, "special_na")["type_name"] == "int")
    to.add(
        "completion with a function's parameters",
        act=lambda notebook: "word" in _type(notebook, "special_fun")["definition"],
    )
    to.add("completion of magics", act=lambda notebook: _completes(notebook, "%%capt", "%%capture"))
    to.add("completion of imports", act=lambda notebook: _completes(notebook, "import jso", "json"))
    to.add("completion of files", act=lambda notebook: _completes(notebook, "open('/etc/passw", "/etc/passwd"))
    to.add(
        "tooltip: parameters",
        act=lambda notebook: _inspected(notebook, "special_function")["argspec"]["args"] == ["word", "times"],
    )
    to.add(
        "tooltip: documentation",
        act=lambda notebook: _inspected(notebook, "special_function")["docstring"] == "Say it.",
    )
    to.add(
        "tooltip: default values",
        act=lambda notebook: _inspected(notebook, "special_function")["argspec"]["defaults"] in ([2], ["2"]),
    )
    to.add("tooltip: a value", act=lambda notebook: "41" in _inspected(notebook, "special_name")["string_form"])
    to.add("tooltip: a type", act=lambda notebook: _inspected(notebook, "special_text")["type_name"] == "str")
    to.add("tooltip: nothing to show", act=lambda notebook: not notebook.page.inspect("no_such_name").get("found"))
    to.add("`name?`", _SPECIAL + "\n# ---\nspecial_function?", lambda cell: "Say it." in _pager(cell))
    to.add("`name??`", _SPECIAL + "\n# ---\nspecial_function??", lambda cell: "return word * times" in _pager(cell))


def _errors(to: _Catalogue) -> None:
    to.begin("errors")
    to.add("traceback", "def divide():\n    1 / 0\ndivide()", _traceback)
    to.add("syntax error", "a b", "SyntaxError")
    to.add(
        "error in a chain",
        "try:\n    {}['key']\nexcept KeyError as e:\n    raise ValueError('bad') from e",
        lambda cell: "KeyError" in str(cell.error["traceback"]),
    )
    to.add("`SystemExit`", "import sys\nsys.exit('left')", "left")
    to.add("`%xmode`, `%tb`", "1 / 0\n# ---\n%tb", lambda cell: "ZeroDivisionError" in shown(cell) + str(cell.messages))
    to.begin("errors", "google.colab._import_hooks")
    to.add(
        'missing module: "Open Examples"',
        "import no_such_module",
        lambda cell: _action(cell)["action_text"] == "Open Examples",
    )
    to.add("missing module: its snippet", "import cartopy", lambda cell: _action(cell)["snippet_filter"] == "cartopy")
    to.add(
        "disabled function: search snippets", _DISABLED, lambda cell: _action(cell)["snippet_filter"] == "cv2.imshow"
    )


def _page(to: _Catalogue) -> None:
    to.begin("the page")
    secret = {"exists": True, "access": True, "payload": "open sesame"}
    to.add(
        "secret",
        "from google.colab import userdata\nuserdata.get('KEY')",
        "open sesame",
        asks=Asks(kind="GetSecret", good=secret, refused={"exists": True, "access": False}, then="NotebookAccessError"),
    )
    to.add(
        "secret that is not there",
        "from google.colab import userdata\nuserdata.get('KEY')",
        "SecretNotFoundError",
        asks=Asks(kind="GetSecret", good={"exists": False}, then="TimeoutException"),
    )
    to.add(
        "JavaScript's value",
        "from google.colab import output\noutput.eval_js('6 * 7')",
        "42",
        asks=Asks(kind="cell_javascript_eval", good=42, then=lambda cell: not cell.error and "42" not in shown(cell)),
    )
    to.add(
        "an error of the page can be caught",
        _CAUGHT,
        "got good",
        asks=Asks(kind="cell_javascript_eval", good="good", then="got None", error="caught MessageError"),
    )
    to.add(
        "a request says which cell asks",
        _EVAL,
        _asks_for_its_cell,
        asks=Asks(kind="cell_javascript_eval", good=1, then=_asks_for_its_cell, error=None),
    )
    to.add(
        "a question in the middle of output",
        _MIDDLE,
        ("before", "value 5", "after"),
        asks=Asks(kind="cell_javascript_eval", good=5, then="value None"),
    )
    to.add("two questions", _TWICE, "sum 42", asks=Asks(kind="cell_javascript_eval", good=21, refused=0, then="sum 0"))
    to.add("a function that the page calls", act=lambda notebook: "42" in shown(_called(notebook)))
    to.add("a function that fails, called by the page", act=_called_and_failed)
    to.begin("the page", "google.colab.output:unregister_callback")
    to.add(
        "JavaScript without an answer",
        "from google.colab import output\nprint(output.eval_js('go()', ignore_result=True))",
        lambda cell: cell.asked == ["cell_javascript_eval"] and "None" in cell.stdout,
    )
    to.add(
        "JavaScript with a limit of time",
        "from google.colab import output\nprint('got', output.eval_js('x', timeout_sec=0.5))",
        "got None",
    )
    to.add("a function is unregistered", _UNREGISTERED, "ValueError: Callback function not registered")
    to.add(
        "the open notebook",
        _NOTEBOOK,
        "1 cells",
        asks=Asks(kind="get_ipynb", good={"ipynb": {"cells": [1]}}, refused={"ipynb": {"cells": []}}, then="0 cells"),
    )
    to.add(
        "snippets",
        "from google.colab import snippets\nsnippets.register('https://x'); print('regis' 'tered')",
        "registered",
        asks=Asks(kind="register_snippets", good={}, then="registered"),
    )
    to.add("a scratch cell", _SCRATCH, "opened", asks=Asks(kind="add_scratch_cell", good={}, then="opened"))
    to.add("disconnect and delete the runtime", _UNASSIGN, "POST /unassign")
    to.add(
        "the page's theme",
        "from google.colab import output\noutput.eval_js('document.documentElement.getAttribute(\"theme\")')",
        "dark",
        asks=Asks(kind="cell_javascript_eval", good="dark"),
    )


def _output(to: _Catalogue) -> None:
    to.begin("output", "google.colab.output:use_tags")
    to.add(
        "tags",
        "from google.colab import output\nwith output.use_tags('some'):\n    print('tagged')",
        lambda cell: _tags(cell) == [["some"], []],
    )
    to.add(
        "clear by tag",
        "from google.colab import output\noutput.clear(output_tags='some')",
        lambda cell: sent(cell, "clear_output")[-1]["content"]["output_tags"] == ["some"],
    )
    to.add(
        "temporary output",
        "from google.colab import output\nwith output.temporary():\n    print('soon gone')",
        lambda cell: sent(cell, "clear_output")[-1]["content"]["output_tags"][0] in _tags(cell)[0],
    )
    to.add(
        "output to an element",
        "from google.colab import output\nwith output.redirect_to_element('#there'):\n    print('over there')",
        "#there",
    )
    to.add(
        "output to header and footer",
        "from google.colab import output\nwith output.to_header_area():\n    print('h')\nwith output.to_footer_area():\n    print('f')",
        ("#output-header", "#output-footer"),
    )
    to.add("no scroll bar", "from google.colab import output\noutput.no_vertical_scroll()", "setIframeHeight")
    to.add("a port as a frame", "from google.colab import output\noutput.serve_kernel_port_as_iframe(8123)", "8123")
    to.add(
        "a port as a window",
        "from google.colab import output\noutput.serve_kernel_port_as_window(8124)",
        ("8124", "Warning"),
    )
    to.add(
        "JavaScript built in Python",
        "from google.colab.output import _js_builder\n_js_builder.Js('console').log('hello')",
        'console.log("hello")',
    )
    to.add(
        "syntax highlighting",
        "from google.colab import syntax\nsyntax.sql('select 1')",
        "select 1",
        needs=("google.colab.syntax",),
    )
    to.add("an HTML element", _ELEMENT, "<div id=", needs=("google.colab.html",))
    to.add("a resource that the kernel serves", _RESOURCE, "served it", needs=("google.colab.html",))
    to.add("a function's repr", _FUNCTION_REPR, "text/html: <div", needs=("google.colab._reprs:enable_function_repr",))
    to.add(
        "an array as an image", _ARRAY_REPR, "ndarray_image_preview", needs=("google.colab._reprs:enable_ndarray_repr",)
    )


def _files(to: _Catalogue) -> None:
    to.begin("files", "google.colab.files")
    up = Asks(kind="cell_javascript_eval", good=_uploads, refused={"action": "complete"}, then="{}")
    to.add(
        "upload",
        _FRESH + "from google.colab import files\nprint(dict(files.upload()))",
        ("{'a.txt': b'hello'}", "Saving a.txt"),
        asks=up,
    )
    to.add(
        "upload into a directory",
        _FRESH + "from google.colab import files\nprint(dict(files.upload('to')))\nprint(open('to/a.txt').read())",
        "{'to/a.txt': b'hello'}",
        asks=Asks(kind=up.kind, good=_uploads, refused=up.refused, then="FileNotFoundError"),
    )
    to.add(
        "upload of one file",
        _FRESH + "from google.colab import files\nfiles.upload_file('b.txt'); print(open('b.txt').read())",
        "hello",
        asks=Asks(kind=up.kind, good=_uploads, refused=up.refused, then="File has not been uploaded"),
    )
    to.add(
        "upload keeps what is there",
        _FRESH
        + "open('a.txt', 'w').write('mine')\nfrom google.colab import files\nprint(dict(files.upload()))\nprint(open('a.txt').read())",
        ("{'a (1).txt': b'hello'}", "mine"),
        asks=up,
    )
    to.add("download", act=_downloaded)
    to.add(
        "download of no file",
        "from google.colab import files\nfiles.download('nowhere')",
        "FileNotFoundError: Cannot find file",
    )
    to.add(
        "view a file",
        "open('seen.txt', 'w').close()\nfrom google.colab import files\nfiles.view('seen.txt')",
        "seen.txt",
    )
    to.begin("Drive", "google.colab.drive")
    to.add("mount", _MOUNT, "Mounted at", asks=Asks(kind="request_auth", good={}, refused=_DENIED, then=_WAS_DENIED))
    to.add(
        "mounted already",
        _MOUNT_AGAIN,
        "already mounted",
        asks=Asks(kind="request_auth", good={}, refused=_DENIED, then=_WAS_DENIED),
    )
    to.add("unmount", "from google.colab import drive\ndrive.flush_and_unmount()", "nothing to flush")


def _tables(to: _Catalogue) -> None:
    to.begin("tables", "pandas")
    to.add("a table", _FRAME + "df", ("text/html: ", "<table"))
    to.begin("tables", "pandas", "google.colab.data_table")
    to.add("its buttons", _FRAME + "df", "convertToInteractive")
    to.add("button: interactive table", act=_converted)
    to.add("`DataTable`", _FRAME + "from google.colab.data_table import DataTable\nDataTable(df)", "createDataTable")
    to.add(
        "`%load_ext google.colab.data_table`",
        _FRAME + "%load_ext google.colab.data_table\n# ---\ndf\n",
        "module+javascript: ",
    )
    to.add(
        "tables as before",
        "%unload_ext google.colab.data_table\n# ---\n" + _FRAME + "df",
        lambda cell: "<table" in shown(cell) and "module+javascript: " not in shown(cell),
    )
    to.add(
        "a table's columns, for the page",
        _FRAME + "from google.colab import _reprs\n_reprs.enable_dataframe_metadata_repr()\n# ---\ndf",
        ("'type': 'dataframe'", "'variable_name': 'df'", "num_unique_values"),
    )
    to.add("a series", _FRAME + "df['n']", "<label><b>dtype:</b> int64")
    to.add("a styled table", _FRAME + "df.style", 'class="dataframe"', needs=("jinja2",))
    to.add(
        "generate code with a table",
        _FRAME + "from google.colab import _generate_with_variable as g\nprint(g.get_html(df))",
        "generateWithVariable('df')",
    )
    to.add(
        "`display_dataframe`",
        _FRAME + "from google.colab.data_table import display_dataframe\ndisplay_dataframe(df)",
        "createDataTable",
        needs=("altair", "matplotlib", "seaborn"),
    )
    to.add(
        "`quickchart`",
        _FRAME + "from google.colab import autoviz\nautoviz.quickchart(df)",
        "image/png",
        needs=("altair", "matplotlib", "seaborn"),
    )
    to.add(
        "charts, for the page",
        _FRAME + "from google.colab import _quickchart\n_quickchart.find_charts_json('df')",
        "application/json: [",
        needs=("altair", "matplotlib", "seaborn"),
    )
    to.add(
        "a table that is a widget",
        _FRAME + "from google.colab.widgets import InteractiveTable\nInteractiveTable(df)",
        "widget-view+json",
    )


def _widgets(to: _Catalogue) -> None:
    to.begin("widgets", "ipywidgets")
    to.add("a widget", "import ipywidgets\nipywidgets.IntSlider()", "widget-view+json")
    to.add("the page moves a slider", act=_moved)
    to.add("the page presses a button", act=_pressed)
    to.add("`interact`", act=_interacted)
    to.add(
        "`Output` captures",
        "import ipywidgets\nout = ipywidgets.Output()\nwith out:\n    print('caught')\nprint(len(out.outputs), 'held')",
        lambda cell: sent(cell, "comm_msg") or "1 held" in cell.stdout,
    )
    to.add(
        "a progress bar for notebooks",
        "from tqdm.notebook import tqdm\nfor _ in tqdm(range(3)): pass",
        "widget-view+json",
        needs=("tqdm",),
    )
    to.begin("widgets", "ipywidgets", "google.colab.output:enable_custom_widget_manager")
    to.add(
        "custom widgets",
        "from google.colab import output\noutput.enable_custom_widget_manager()\n# ---\nimport ipywidgets\nipywidgets.IntText()",
        _custom,
    )
    to.add(
        "no custom widgets",
        "from google.colab import output\noutput.disable_custom_widget_manager()\n# ---\nimport ipywidgets\nipywidgets.IntText()",
        lambda cell: not _custom(cell) and "widget-view" in shown(cell),
    )
    to.add("a widget of one's own", _ANYWIDGET, "widget-view+json", needs=("anywidget",))
    to.begin("widgets", "google.colab.widgets")
    to.add(
        "`TabBar`",
        "from google.colab import widgets\nt = widgets.TabBar(['one', 'two'])\nwith t.output_to('one'): print('in one')",
        ("tabbar", "in one"),
    )
    to.add(
        "`Grid`",
        "from google.colab import widgets\ng = widgets.Grid(2, 2)\nwith g.output_to(0, 1): print('in a cell')",
        ("<table", "in a cell"),
    )


def _google(to: _Catalogue) -> None:
    to.begin("Google's services", "google.colab.auth")
    to.add(
        "google-auth",
        "import google.auth.transport.requests, google.oauth2.service_account\nprint('auth', google.auth.__name__)",
        "auth google.auth",
    )
    to.add(
        "`authenticate_user`",
        _AUTHENTICATE,
        "authenticated",
        asks=Asks(kind="request_auth", good={}, refused=_DENIED, then=_WAS_DENIED),
    )
    to.add(
        "`authenticate_user` without consent",
        _NO_CREDENTIALS,
        "AuthorizationError",
        asks=Asks(kind="request_auth", good={}, then="AuthorizationError"),
    )
    to.add(
        "`sheets`",
        "from google.colab import sheets\nprint('at', sheets._standardize_location((2, 3)))",
        "at C2",
        needs=("google.colab.sheets", "pandas"),
    )
    to.add(
        "`ai.generate_text`",
        _AI_SERVER + "print(ai.generate_text('hello'))",
        "said the model to hello",
        needs=("google.colab.ai",),
        asks=Asks(
            kind="GetSecret",
            good={"exists": True, "access": True, "payload": "token"},
            refused={"exists": True, "access": False},
            then="NotebookAccessError",
        ),
    )
    to.add(
        "`ai.list_models`",
        _AI_SERVER + "print(ai.list_models())",
        "['google/small']",
        needs=("google.colab.ai",),
        asks=Asks(
            kind="GetSecret",
            good={"exists": True, "access": True, "payload": "token"},
            refused={"exists": False},
            then="SecretNotFoundError",
        ),
    )
    to.add("SQL cell: checked", _SQL, "checked 7 bytes", needs=("google.colab.sql", "bigframes"))
    to.add("SQL cell: its table", _SQL, "ran SELECT 7", needs=("google.colab.sql", "bigframes"))
    to.add("`%%bqsql` is declared", _BQSQL, "declared True", needs=("google.colab.sql",))


def _packages(to: _Catalogue) -> None:
    to.begin("packages")
    to.add(
        "matplotlib's plots",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()",
        "image/png: ",
        needs=("matplotlib",),
    )
    to.add(
        "plots of pandas", "import pandas\npandas.Series([1, 3]).plot()", "image/png: ", needs=("matplotlib", "pandas")
    )
    to.add(
        "Altair's charts",
        "import altair\nprint('renderer', altair.renderers.active)",
        "renderer colab",
        needs=("altair", "google.colab._import_hooks"),
    )
    to.add("Bokeh's plots", _BOKEH, "bokeh", needs=("bokeh", "google.colab._import_hooks"))


# What the cells contain ----------------------------------------------------------------------------------------------

_TASK = "import asyncio\nasync def later():\n    await asyncio.sleep(0.3); print('from the ' 'task')\n_ = asyncio.ensure_future(later())"
_THREAD = "import threading, time\ndef late():\n    time.sleep(0.3); print('from the ' 'thread')\nthreading.Thread(target=late).start()"
_MARKDOWN = "from IPython.display import Latex, Markdown, display\ndisplay(Markdown('*it*'), Latex('$x$'))"
_IMAGE = "import PIL.Image\nPIL.Image.new('RGB', (4, 4))"
_DISPLAY_ID = "from IPython.display import HTML, display\nh = display(HTML('<i>1</i>'), display_id=True)\nh.update(HTML('<i>2</i>'))"
_COLOURS = "import os\nprint('forced', [name for name in ('FORCE_COLOR', 'CLICOLOR_FORCE') if name in os.environ])"
_EXECUTED = "get_ipython().history_manager._executed_cells_as_json()"
_ON_COLAB = "import os, sys\nimport google.colab\nprint('colab', 'google.colab' in sys.modules, 'COLAB_RELEASE_TAG' in os.environ)"
_SHAPE = "from google.colab import _debugpy_repr\nprint(_debugpy_repr.get_shape([1, 2]))"
_AUTORELOAD = """\
import pathlib, sys; sys.path.insert(0, ''); pathlib.Path('reloaded.py').write_text('value = 1')
%load_ext autoreload
%autoreload 2
import reloaded
# ---
import os
pathlib.Path('reloaded.py').write_text('value =  2'); os.utime('reloaded.py', (2e9, 2e9))
# ---
print('now', reloaded.value)
# ---
print('now', reloaded.value)
"""
_INLINE = "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])"
_OWN_MAGIC = "from IPython.core.magic import register_cell_magic\n@register_cell_magic\ndef loud(line, cell):\n    print(cell.upper())\n# ---\n%%loud\nown"
_BIGQUERY = "print('declared', 'bigquery' in get_ipython().magics_manager.magics['cell'])"
# What the page calls before and when a SQL cell runs; the service itself needs an account, so it is answered here.
_SQL = """\
import bigframes.pandas
def answer(sql, dry_run=False, pyformat_args=None):
    return {'totalBytesProcessed': pyformat_args['limit']} if dry_run else 'ran ' + sql.format(**pyformat_args)
bigframes.pandas._read_gbq_colab = answer
limit = 7
from google.colab.sql import bigquery
print('checked', bigquery.validate('SELECT {limit}')['bytes_processed'], 'bytes')
print(bigquery.run('SELECT {limit}'))
"""
_AFTER = """\
def after():
    get_ipython().events.unregister('post_run_cell', after)
    print('after ' 'that cell')
get_ipython().events.register('post_run_cell', after)
"""
_BQSQL = "print('declared', 'bqsql' in get_ipython().magics_manager.magics['cell'])"
_RESTART = (
    "import zmq\nfrom google.colab import _pip\n_pip.print_previous_import_warning('Successfully installed pyzmq-1.0')"
)
_SPECIAL = "special_name = 41; special_text = 'x'\ndef special_function(word, times=2):\n    'Say it.'\n    return word * times"
_DISABLED = (
    "from google.colab._import_hooks import _cv2\n_cv2.disable_function(print, 'not here', 'NO_SUCH', 'cv2.imshow')()"
)
_CAUGHT = """\
from google.colab import output
from google.colab._message import MessageError
try:
    print('got', output.eval_js('x'))
except MessageError as error:
    print('caught', type(error).__name__)
"""
_EVAL = "from google.colab import output\noutput.eval_js('1')"
_MIDDLE = "from google.colab import output\nprint('before')\nprint('value', output.eval_js('x'))\nprint('after')"
_TWICE = "from google.colab import output\nprint('sum', output.eval_js('x') + output.eval_js('x'))"
_UNREGISTERED = "from google.colab import output\noutput.register_callback('once', print)\noutput.unregister_callback('once')\noutput.unregister_callback('once')"
_NOTEBOOK = "from google.colab import _message\nprint(len(_message.blocking_request('get_ipynb', timeout_sec=None)['ipynb']['cells']), 'cells')"
_SCRATCH = "from google.colab import _frontend\n_frontend.create_scratch_cell('1'); print('ope' 'ned')"
_SERVER = """\
import http.server, json, os, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        heard.append(self.command + ' ' + self.path)
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        answer = json.dumps(reply(json.loads(body or b'{}'))).encode()
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    do_GET = do_POST = answer
    def log_message(self, *arguments): pass
heard = []
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f'127.0.0.1:{server.server_port}'
"""
_UNASSIGN = (
    _SERVER
    + "reply = lambda asked: {}\nos.environ['TBE_RUNTIME_ADDR'] = address\nfrom google.colab import runtime\nruntime.unassign(); print(heard)"
)
_FRESH = "import os, tempfile\nos.chdir(tempfile.mkdtemp())\n"
_ELEMENT = "from google.colab import html\nelement = html.Element('div')\nprint(element._repr_html_()); print('<div id=' in element._repr_html_())"
_RESOURCE = """\
from google.colab import html
import urllib.request
resource = html.create_resource(content='served it')
print(urllib.request.urlopen(resource.url.replace('https', 'http')).read())
"""
_FUNCTION_REPR = "from google.colab import _reprs\n_reprs.enable_function_repr()\ndef own(): 'Mine.'\n# ---\nown\n"
_ARRAY_REPR = (
    "import numpy\nfrom google.colab import _reprs\n_reprs.enable_ndarray_repr()\nnumpy.zeros((20, 20), 'uint8')"
)
_FRAME = "import pandas\ndf = pandas.DataFrame({'n': [1, 2, 3], 'm': [2.5, 1.5, 4.0], 'kind': ['a', 'b', 'a']})\n"
_ANYWIDGET = "import anywidget\nclass Own(anywidget.AnyWidget):\n    _esm = 'export default {render() {}}'\nOwn()"
# Google's own program, at the machine's outermost edge: the stand-in's machine has one that mounts an empty Drive.
_MOUNT = "import os, shutil\nshutil.rmtree('drive', ignore_errors=True); os.environ['TBE_EPHEM_CREDS_ADDR'] = 'x'\nfrom google.colab import drive\ndrive.mount(os.path.abspath('drive'), timeout_ms=20000)"
_MOUNT_AGAIN = "import os\nos.makedirs('again/My Drive', exist_ok=True); os.environ['TBE_EPHEM_CREDS_ADDR'] = 'x'\nfrom google.colab import drive\ndrive.mount(os.path.abspath('again'), timeout_ms=20000)"
_NO_CREDENTIALS = """\
import os
os.environ.update(USE_AUTH_EPHEM='1', NO_GCE_CHECK='true', HOME=os.getcwd(), CLOUDSDK_CONFIG=os.getcwd())
os.environ.pop('GOOGLE_APPLICATION_CREDENTIALS', None)
import google.auth
from google.colab import auth
auth._enable_metadata_server_for_gcloud = lambda: None  # it calls gcloud
"""
_AUTHENTICATE = (
    _NO_CREDENTIALS
    + """\
import google.oauth2.credentials
given = google.auth.default
class Valid(google.oauth2.credentials.Credentials):
    valid = True
    def refresh(self, request): pass
auth._enable_metadata_server_for_gcloud = lambda: setattr(google.auth, 'default', lambda **_: (Valid('token'), None))
try:
    auth.authenticate_user()
    print('authen' 'ticated')
finally:
    google.auth.default = given
"""
)
_NO_CREDENTIALS += "auth.authenticate_user()"
_AI_SERVER = (
    _SERVER
    + """\
def reply(asked):
    if not asked:
        return {'data': [{'id': 'google/small'}]}
    message = {'role': 'assistant', 'content': 'said the model to ' + asked['messages'][0]['content']}
    return {'id': '1', 'object': 'chat.completion', 'created': 1, 'model': 'm', 'choices': [{'index': 0, 'finish_reason': 'stop', 'message': message}]}
os.environ.pop('MODEL_PROXY_API_KEY', None)
os.environ.update(MODEL_PROXY_HOST='http://' + address, NO_PROXY='127.0.0.1', no_proxy='127.0.0.1')
from google.colab import ai
"""
)
_BOKEH = "from bokeh.io import output_notebook\nfrom bokeh.plotting import figure, show\noutput_notebook()\np = figure(); p.line([1], [1]); show(p)"


# What must come back, where text does not say it ---------------------------------------------------------------------


def _streams(cell: Cell) -> bool:
    return "out\n" in cell.stdout and "err\n" in cell.stderr


def _traceback(cell: Cell) -> bool:
    return cell.error.get("ename") == "ZeroDivisionError" and "divide" in "\n".join(cell.error["traceback"])


def _action(cell: Cell) -> Mapping[str, str]:
    found: Mapping[str, str] = cell.error["error_details"]["actions"][0]
    return found


def _pager(cell: Cell) -> str:
    pages = "".join(str(each.get("data", {}).get("text/plain")) for each in cell.reply.get("payload", []))
    return re.sub("\033\\[[0-9;]*m", "", pages + shown(cell))  # later IPythons colour it


def _tags(cell: Cell) -> list[list[str]]:
    areas = [message["content"]["metadata"].get("outputarea") for message in sent(cell, "display_data")]
    return [area["add_tags"] for area in areas if area]


def _custom(cell: Cell) -> bool:
    found = [
        each["content"].get("metadata", {}) for kind in ("display_data", "execute_result") for each in sent(cell, kind)
    ]
    return "custom_widget_manager" in str(found)


def _asks_for_its_cell(cell: Cell) -> bool:
    (request,) = sent(cell, "colab_request")
    own = {each["parent_header"].get("msg_id") for each in sent(cell, "status")}
    return request["parent_header"].get("msg_id") in own


def _later(notebook: Notebook, code: str, text: str) -> bool:
    message = notebook.page.submit(notebook.prefix + code)
    notebook.page.finish(message)
    heard = notebook.hear("stream", lambda each: text in each["content"]["text"])
    return heard["parent_header"]["msg_id"] == message


def _stopped(notebook: Notebook, code: str) -> bool:
    return notebook.stop(code).error.get("ename") == "KeyboardInterrupt" and "3" in shown(notebook.run("1 + 2"))


def _ended(cell: Cell) -> bool:
    return "^C" in cell.stdout


def _debugger(notebook: Notebook) -> bool:
    content = {"seq": 1, "type": "request", "command": "debugInfo"}
    asked = notebook.page._send("control", "debug_request", content)
    reply = notebook.hear("debug_reply", lambda each: each["parent_header"].get("msg_id") == asked)
    return bool(reply["content"].get("success"))


def _is_complete(notebook: Notebook) -> bool:
    return notebook.page.ask("is_complete_request", {"code": "for x in y:"})["status"] == "incomplete"


def _streamed(notebook: Notebook) -> bool:
    message = notebook.page.submit_until_output(notebook.prefix + "!echo first; sleep 1; echo second")
    return "second" in notebook.page.finish(message).stdout


def _typed(notebook: Notebook) -> bool:
    return (
        "hello Ada"
        in notebook.type("!read typed_name; echo hello $typed_name", "Ada\n", after="cell_display_stdin").stdout
    )


def _completes(notebook: Notebook, code: str, name: str) -> bool:
    notebook.run(_SPECIAL)
    return name in notebook.complete(code)["matches"]


def _type(notebook: Notebook, code: str) -> Mapping[str, str]:
    notebook.run(_SPECIAL)
    found: Mapping[str, str] = notebook.complete(code)["metadata"]["colab_types_experimental"][0]
    return found


def _inspected(notebook: Notebook, name: str) -> dict[str, Any]:
    notebook.run(_SPECIAL)
    return notebook.inspect(name)


def _called(notebook: Notebook) -> Cell:
    notebook.run("from google.colab import output\noutput.register_callback('double', lambda x: 2 * x)")
    return notebook.invoke("double", "[21]")


def _called_and_failed(notebook: Notebook) -> bool:
    notebook.run(
        "from google.colab import output\ndef fail():\n    raise KeyError('lost')\noutput.register_callback('fail', fail)"
    )
    return notebook.invoke("fail").error.get("ename") == "KeyError"


def _uploads(asked: Mapping[str, str]) -> Mapping[str, str]:
    """Answer as the page does: the picker has closed, then the file's contents, then the end."""
    place = asked["script"].rpartition("result-")[2]
    if "_uploadFilesContinue" not in asked["script"]:
        file = {"action": "append", "file": "a.txt", "data": base64.b64encode(b"hello").decode()}
        _LEFT[place] = [{"action": "complete"}, file]
        return {"action": "starting"}
    return _LEFT[place].pop()


_LEFT: dict[str, list[dict[str, str]]] = {}  # what the page still has of each upload


def _downloaded(notebook: Notebook) -> bool:
    cell = notebook.run(
        "open('big.bin', 'wb').write(b'x' * (2 * 1024 * 1024 + 5))\nfrom google.colab import files\nfiles.download('big.bin')"
    )
    script = next(
        each["application/javascript"]
        for each in cell.displays
        if each["application/javascript"].startswith("download(")
    )
    target, name, size = json.loads("[" + script.removeprefix("download(").removesuffix(")") + "]")
    notebook.tell("download", {}, kind="comm_open", target=target)
    received = 0
    while True:
        notebook.tell("download", {})
        message = notebook.hear(
            "comm_msg" if received < size else "comm_close", lambda each: each["content"].get("comm_id") == "download"
        )
        if message["header"]["msg_type"] == "comm_close":
            return (name, received) == ("big.bin", size)
        received += sum(map(len, message["buffers"]))


def _converted(notebook: Notebook) -> bool:
    text = shown(notebook.run(_FRAME + "df"))
    key = text.partition("convertToInteractive('")[2].partition("'")[0]
    return "createDataTable" in shown(notebook.invoke("convertToInteractive", json.dumps([key])))


def _opened(cell: Cell, name: str) -> str:
    opened = sent(cell, "comm_open")
    found: str = next(
        each["content"]["comm_id"] for each in opened if each["content"]["data"]["state"].get("_model_name") == name
    )
    return found


def _moved(notebook: Notebook) -> bool:
    code = "import ipywidgets\nslider = ipywidgets.IntSlider()\nslider.observe(lambda change: print('moved to', change['new']), 'value')\nslider"
    comm = _opened(notebook.run(code), "IntSliderModel")
    notebook.tell(comm, {"method": "update", "state": {"value": 7}})
    return bool(notebook.hear("stream", lambda each: "moved to 7" in each["content"]["text"])) and "is 7" in shown(
        notebook.run("print('is', slider.value)")
    )


def _pressed(notebook: Notebook) -> bool:
    code = "import ipywidgets\nbutton = ipywidgets.Button()\nbutton.on_click(lambda _: print('pres' 'sed'))\nbutton"
    comm = _opened(notebook.run(code), "ButtonModel")
    notebook.tell(comm, {"method": "custom", "content": {"event": "click"}})
    return bool(notebook.hear("stream", lambda each: "pressed" in each["content"]["text"]))


def _interacted(notebook: Notebook) -> bool:
    code = "import ipywidgets\nvalues = []\nipywidgets.interact(lambda n: values.append(n), n=(0, 9))"
    comm = _opened(notebook.run(code), "IntSliderModel")
    notebook.tell(comm, {"method": "update", "state": {"value": 3}})
    notebook.hear("status", lambda each: each["content"]["execution_state"] == "idle")
    return "got 3" in shown(notebook.run("print('got', values[-1])"))


FEATURES = _all(_Catalogue())
