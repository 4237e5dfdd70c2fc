"""What a kernel lacks of the machine's own: the text of a cell that the trial of a kernel runs (see `_preflight.py`).

It runs under any Python (3.8 or newer) and imports nothing of colab_env. Its last line has, as JSON, what is `missing`, each
with the reason, and which `packages` of the project's would bring it. Asked is what takes no seconds; all is in
`tests/features`.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from typing import Any

from IPython.core.getipython import get_ipython

shell: Any = get_ipython()


def is_importable(module: str) -> bool:
    """Say whether a module can be imported, without a look inside."""
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def imports(*modules: str) -> Callable[[], object]:
    """Return a check that a module, or several, can be imported."""
    return lambda: [importlib.import_module(module) for module in modules]


def tables() -> None:
    """Show a table with its buttons, and as an interactive one."""
    import pandas as pd  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from google.colab import data_table  # type: ignore[import-not-found]

    frame = pd.DataFrame({"n": [1]})
    require("convertToInteractive" in shell.display_formatter.format(frame)[0].get("text/html", ""), "no buttons")
    require("createDataTable" in str(data_table.DataTable(frame)._repr_mimebundle_()), "no interactive table")


def custom_widgets() -> None:
    """Show a widget of which the page hears where its code is."""
    import ipywidgets  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from google.colab import output

    sent: list[Any] = []
    output.enable_custom_widget_manager()
    shell.display_pub.register_hook(sent.append)
    shell.display_formatter.format(ipywidgets.IntText())
    require("custom_widget_manager" in str(sent), "the page does not hear of them")


def plots() -> None:
    """Draw a figure as an image: as a cell's value, and by the library that pandas and others draw with."""
    import matplotlib.pyplot as plt  # type: ignore[import-not-found,unused-ignore]

    figure, _ = plt.subplots(figsize=(1, 1))  # an empty one is drawn as nothing
    try:
        require("image/png" in shell.display_formatter.format(figure)[0], "a figure is not an image")
    finally:
        plt.close(figure)


def altair_charts() -> None:
    """Have the renderer that Colab's page draws charts with."""
    import altair as alt  # type: ignore[import-not-found,unused-ignore]

    require(alt.renderers.active == "colab", f"the renderer is {alt.renderers.active!r}")


def assigned_commands() -> None:
    """Read the lines that a command prints."""
    require(shell.getoutput("echo one") == ["one"] and "getoutput" in shell.transform_cell("x = !echo one"), "no lines")


def require(condition: object, problem: str) -> None:
    """Raise ValueError with the problem unless the condition is true."""
    if not condition:
        raise ValueError(problem)


AUTH = imports("google.auth.transport.requests", "google.oauth2.service_account")
# The name, what of google.colab it is, and of which packages; without those it is missing, or, where they are all that it is
# about, not asked for.
FEATURES: tuple[tuple[str, str, tuple[str, ...], bool, Callable[[], object]], ...] = (
    ("auth", "google.colab.auth", (), True, AUTH),
    ("drive", "google.colab.drive", (), True, imports("google.colab.drive")),
    ("files", "google.colab.files", (), True, imports("google.colab.files")),
    ("html", "google.colab.html", (), True, imports("google.colab.html")),
    ("ai", "google.colab.ai", (), True, imports("google.colab.ai")),
    ("sheets", "google.colab.sheets", ("pandas",), True, imports("google.colab.sheets")),
    ("quickchart", "google.colab.autoviz", ("matplotlib", "pandas", "seaborn"), True, imports("google.colab.autoviz")),
    ("tables", "google.colab.data_table", ("pandas",), False, tables),
    ("custom widgets", "google.colab.output._widgets", ("ipywidgets",), False, custom_widgets),
    ("plots", "google.colab", ("matplotlib",), False, plots),
    ("Altair's charts", "google.colab._import_hooks", ("altair",), False, altair_charts),
    ("x = !cmd", "google.colab", (), True, assigned_commands),
    ("autoreload", "google.colab", (), True, lambda: shell.run_line_magic("load_ext", "autoreload")),
)


def missing_features() -> dict[str, Any]:
    """Try each feature, and return what is missing."""
    missing, packages = {}, set()
    for name, module, needed, is_missed, check in FEATURES:
        absent = [package for package in needed if not is_importable(package)]
        if not is_importable(module) or (absent and not is_missed):
            continue
        if absent:
            missing[name] = "needs " + ", ".join(absent)
            packages.update(absent)
            continue
        try:
            check()
        except Exception as error:  # noqa: BLE001 - whatever it is, the feature is missing
            missing[name] = f"{type(error).__name__}: {error}".partition("\n")[0]
    return {"missing": missing, "packages": sorted(packages)}


print("\n" + json.dumps(missing_features()))
