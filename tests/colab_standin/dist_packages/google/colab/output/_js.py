"""Stand-in for tests, written from public behaviour: JavaScript that the page runs, and functions that it calls."""

import json

from google.colab import _ipython, _message

_functions = {}


def eval_js(script):
    """Run JavaScript beside the cell's output and return its value, however long that takes."""
    body = {"script": script, "ignore_result": False}
    parent = _ipython.get_kernel().shell.parent_header
    return _message.blocking_request("cell_javascript_eval", body, timeout_sec=None, parent=parent)


def register_callback(name, function):
    """Let the page call a function by this name."""
    _functions[name] = function


def _invoke_function(name, arguments, options):
    function = _functions.get(name)
    if not function:
        msg = f"Function not found: {name}"
        raise ValueError(msg)
    return function(*json.loads(arguments), **json.loads(options))
