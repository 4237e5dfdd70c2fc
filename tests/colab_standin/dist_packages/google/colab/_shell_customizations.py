"""Stand-in for tests, written from public behaviour: what the shell adds to completions and tracebacks."""

from IPython.utils import coloransi

# Read at import, as in the real module: here IPython 9 kills the kernel.
_GREEN = coloransi.TermColors.Green


def initialize(shell):
    """Mark a shell as prepared."""
    shell.user_ns.setdefault("_colab_standin", _GREEN)


def compute_completion_metadata(shell, matches):
    """Return one dict for each match, with its type and, for callables, its definition."""
    return [_metadata(shell.object_inspect(match)) for match in matches]


def _metadata(info):
    wanted = {"type_name": info["type_name"]}
    if info.get("definition"):
        wanted["definition"] = info["definition"]
    return wanted
