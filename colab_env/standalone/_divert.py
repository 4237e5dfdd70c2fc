"""Start a notebook's own kernel where the machine would start its stock kernel: what `switch(how="restart")` leaves.

Below two lines, TABLE and GUARD, this text becomes `usercustomize.py` among the machine's packages, which each of the
machine's Pythons imports at its start; it acts in those alone that were started as the stock kernel. Whatever happens to
that file (deleted, empty, garbage), Python prints a line and goes on: the stock kernel comes up, whose own files are not
touched. The same text is a startup file of IPython's, which then says so. Standard library only, nothing of colab_env.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MODULE = "colab_kernel_launcher"
# "notebooks", each with its "kernel_id", "session", "name" and "kernel"; and "default", one of these or None.
CHOICES: "dict[str, Any]" = globals().get("TABLE", {"notebooks": [], "default": None})


def divert() -> None:
    """Become the kernel that this notebook has chosen; for all else, and where that is impossible, do nothing."""
    words = getattr(sys, "orig_argv", [])
    if words[1:3] != ["-m", MODULE] or "-f" not in words or sys.prefix != sys.base_prefix:
        return
    # The first version's shim, and what starts the stock kernel on purpose, say so by the process's own id.
    if os.environ.get("COLAB_ENV_STOCK") == str(os.getpid()):
        return
    file = words[words.index("-f") + 1]
    chosen = choice(file)
    if not chosen:
        return
    guard = guards_functions()
    try:
        reason = start(chosen["kernel"], file, words[3:], guard)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{chosen['kernel']}: {getattr(error, 'strerror', None) or error or type(error).__name__}"
    guard["later"]()
    text = guard["message"](chosen["name"], reason, [])
    if "COLAB_ENV_TRIAL" in os.environ:
        os.write(2, text.encode())
        os._exit(1)
    guard["start_stock"](text, file)


def choice(file: str) -> "Any":
    """Return what the notebook of this connection file has chosen, or None: it is to have the machine's own kernel."""
    kernel_id = os.path.splitext(os.path.basename(file))[0][len("kernel-") :]
    session = os.environ.get("JPY_SESSION_NAME")
    # A restart keeps the kernel's id; another server, or a page that is loaded anew, keeps the notebook's name only. Two
    # notebooks can have one name, and programs that a cell starts have it too: as long as the kernel lives that has chosen,
    # a new one of that name is another notebook's.
    choices = [entry for entry in CHOICES["notebooks"] if entry["kernel_id"] == kernel_id]
    choices += [
        entry
        for entry in CHOICES["notebooks"]
        if session and entry["session"] == session and not runs(entry["kernel_id"])
    ]
    chosen = choices[0] if choices else CHOICES["default"]
    return chosen if chosen and chosen["kernel"] else None


def runs(kernel_id: "str | None") -> bool:
    """Say whether a process was started with the connection file of this kernel."""
    if not kernel_id:
        return False
    name = b"kernel-" + os.fsencode(kernel_id) + b".json"
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/" + process + "/cmdline", "rb") as words:
                if process != str(os.getpid()) and name in words.read():
                    return True
        except OSError:  # noqa: PERF203 - it has ended
            continue
    return False


def guards_functions() -> "dict[str, Any]":
    """Return what `_guard.py` defines, whose text is GUARD."""
    text = globals()["GUARD"]
    namespace: "dict[str, Any]" = {"__name__": "colab_env_guard"}
    exec(compile(text, "colab_env_guard", "exec"), namespace)  # noqa: S102 - our own text, from this very file
    namespace["SOURCE"] = text
    return namespace


def start(kernel: str, file: str, arguments: "list[str]", guard: "dict[str, Any]") -> str:
    """Become the kernel of a kernel.json; return only where that cannot be, with the reason."""
    import json

    with open(kernel, encoding="utf-8") as spec:
        words = json.load(spec)["argv"]
    argv = [word.replace("{connection_file}", file) for word in words]
    reason: "str | None" = guard["obstacle"](argv, file)
    if reason is None:
        number = arguments.index("-f")
        os.execve(argv[0], argv + arguments[:number] + arguments[number + 2 :], os.environ)
    return str(reason)


def watch() -> None:
    """Say with the first cell that nothing has diverted a start that was to be: a startup file of IPython's calls this."""
    application = sys.modules.get("ipykernel.kernelapp")
    if "COLAB_ENV_MACHINE_PYTHON" in os.environ or application is None or not application.IPKernelApp.initialized():
        return
    app = application.IPKernelApp.instance()
    chosen = choice(app.connection_file)
    if not chosen or "--tell" in sys.orig_argv:  # the guard has a better reason to tell
        return
    guard = guards_functions()
    guard["later"]()
    reason = "what starts it was deleted, is damaged, or stands behind something else of that name"
    guard["show_once"](guard["message"](chosen["name"], reason, []), app.shell)


if __name__ == "usercustomize":
    divert()
elif __name__ == "colab_env_watch":
    watch()
