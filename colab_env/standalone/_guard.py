"""Start an environment's kernel; when its last start failed, start the machine's own kernel instead, and say why.

    python -IS -c THIS_TEXT KERNEL CONNECTION_FILE [NAME=VALUE]... PROGRAM [ARGUMENT]...

Runs under the machine's own Python, needs the standard library only, and is imported by nobody: the whole text stands in
the kernelspec, so that no deleted file keeps the machine's own kernel from coming up. It looks at the files of PROGRAM
and becomes it (same process id, so whoever started it notices nothing) with the variables set. A file in one of DIRECTORIES
notes the start and receives what the kernel prints until it has answered for the first time; then `_launch.py` removes
it. A start that finds such a file knows that the last one failed, and does not try again; only after one that ended
without a word it tries once more, for somebody else may have ended that. Where that start still runs it has not failed: a
server that is asked for several restarts at once starts several kernels.
"""

import _signal as signal  # type: ignore[import-not-found] # not `signal`: its enumerations take milliseconds
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIMIT = 30  # seconds until a start that has not come up is ended; the alarm survives execve
# Seconds in which several restarts that somebody asked for start their kernels. A server starts one that died by itself
# about three seconds later; a process that such a kernel has left behind must not pass for it again and again.
AT_ONCE = 2
# Memory first: a full disk must not look like a broken kernel. None of them is the data directory, which may be deleted.
DIRECTORIES = tuple(f"{parent}/colab-env-{os.getuid()}" for parent in ("/dev/shm", "/tmp", "/var/tmp"))  # noqa: S108
SOURCE = ""  # this text, where it was not given to `-c`: see `_divert.py`
SHARED = (os.path.join(sys.prefix, "share"), "/usr/local/share", "/usr/share")
SHOWN = 12  # lines
WIDTH = 400  # characters of each
TAIL = 1 << 16  # bytes at the end of what a start has printed


def main(kernel: str, connection_file: str, *command: str) -> None:
    """Become the environment's kernel, or the machine's own."""
    environ, argv = changed_environ(command)
    if os.environ.pop("COLAB_ENV_TRIAL", None):
        environ.pop("COLAB_ENV_TRIAL", None)
        os.execve(argv[0], argv, environ)
    try:
        reason, lines = tried(environ, argv, command, connection_file)
    except Exception as error:  # whatever it is, the machine's own kernel comes up
        reason, lines = f"{type(error).__name__}: {error}", []
    later()
    text = message(kernel, reason, lines)
    if "COLAB_ENV_CELL" in os.environ:
        # A running cell waits for this kernel's answer (see `_leave.py`), which the machine's own would not give.
        sys.exit(text)
    start_stock(text, connection_file)


def tried(
    environ: "dict[str, str]", argv: "list[str]", command: "tuple[str, ...]", connection_file: str
) -> "tuple[str, list[str]]":
    """Become the environment's kernel; return only where that cannot be, with the reason and what was printed."""
    name = os.path.basename(connection_file)
    earlier = next((path for path in records(name) if os.path.lexists(path)), None)
    if earlier:
        later()
    if earlier and goes_on(earlier, name):
        return obstacle(command, connection_file) or start(argv, environ, name, record=earlier), []
    if earlier and not is_first_silence(earlier):
        return what_failed(earlier), printed(earlier)
    if not earlier:
        forget(name + ".log.again")
    return obstacle(command, connection_file) or (earlier and dies(argv[0])) or start(argv, environ, name), []


def changed_environ(command: "tuple[str, ...]") -> "tuple[dict[str, str], list[str]]":
    """Split NAME=VALUE words from the program, as env(1) does; `${...}` in a value is the variable of now."""
    environ, argv = dict(os.environ), list(command)
    # With the home of the server's Python no other one starts; an empty one stops Python 3.6, so it cannot be one of the words.
    environ.pop("PYTHONHOME", None)
    while not argv[0].startswith("/"):
        name, _, value = argv.pop(0).partition("=")
        environ[name] = expanded(value)
    return environ, argv


def expanded(value: str) -> str:
    """Put variables in the place of their names in `${...}`; os.path.expandvars would import a third of the standard library."""
    prefix, mark, rest = value.partition("${")
    name, end, rest = rest.partition("}")
    return prefix + os.environ.get(name, mark + name + end) + expanded(rest) if end else value


def records(name: str) -> "list[str]":
    """Return where the start of the kernel with this connection file can be noted."""
    return [os.path.join(directory, f"{name}.log") for directory in DIRECTORIES if is_own(directory)]


def is_own(directory: str) -> bool:
    """Say whether a directory is this user's: everybody may make its name, and what others write there is nothing to us."""
    try:
        status = os.lstat(directory)
    except OSError:
        return False
    return status.st_uid == os.getuid() and status.st_mode & 0o170000 == 0o040000


def forget(file: str) -> None:
    """Remove a note of earlier starts, where that is possible."""
    for directory in DIRECTORIES:
        try:
            if is_own(directory):
                os.unlink(os.path.join(directory, file))
        except OSError:  # noqa: PERF203 - three directories
            continue


def obstacle(command: "tuple[str, ...]", connection_file: str) -> "str | None":
    """Return what is wrong with the files of a kernel that `command` starts, or None."""
    for word in command:
        name, _, value = word.partition("=")
        if name == "VIRTUAL_ENV":
            fault = damage(os.path.join(value, "pyvenv.cfg"), b"home")
        elif word.startswith("/") and word != connection_file:
            fault = damage(word, b"    main()\n" if word.endswith("/launch.py") else b"")
        else:
            continue
        if fault:
            return fault
    return None


def damage(file: str, part: bytes) -> "str | None":
    """Return why a file cannot be used, or None; `part` is in each that is whole."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        try:
            # A program's last line is the one that calls it.
            text = os.read(descriptor, 1 << 16)
            whole = text.endswith(part) if part.endswith(b"\n") else part in text
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"{file}: {error.strerror}"
    return None if whole else f"{file} is damaged"


def start(argv: "list[str]", environ: "dict[str, str]", name: str, record: str = "") -> str:
    """Note the start, in a `record` that goes on if there is one, and become the kernel; return only why that cannot be."""
    try:
        path, log = (record, os.open(record, os.O_WRONLY | os.O_APPEND)) if record else noted(name)
    except OSError as error:
        return f"its start could not be noted: {error.strerror}"
    stderr = os.dup(2)
    os.set_inheritable(stderr, True)
    os.dup2(log, 2)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LIMIT)
    try:
        os.execve(argv[0], argv, {**environ, "COLAB_ENV_BOOT": f"{stderr}:{path}"})
    except OSError as error:
        # Nothing was lost, so the next start may try again.
        signal.alarm(0)
        os.dup2(stderr, 2)
        os.unlink(path)
        return f"{argv[0]}: {error.strerror}"


def noted(name: str) -> "tuple[str, int]":
    """Make the file for this start, where that is possible."""
    problem = OSError(1, "no directory for it is this user's")
    for directory in DIRECTORIES:
        path = os.path.join(directory, f"{name}.log")
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            if is_own(directory):
                log = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
                os.utime(log, (time.monotonic(), time.monotonic()))
                return path, log
        except OSError as error:
            problem = error
    raise problem


def later() -> None:
    """Have the rest of this text: where it is embedded, it is compiled only when a start goes wrong.

    Compiling is the half of what the guard takes, and most starts need the first part alone.
    """
    text = globals().pop("LATER", "")
    exec(compile(text, "colab_env_guard", "exec"), globals())  # noqa: S102 - our own text, see `diversion.guard_source`


# Later: what follows is for starts that go wrong.


def goes_on(record: str, name: str) -> bool:
    """Say whether another process is still coming up with this connection file, since a moment ago."""
    if not 0 <= age(record) < AT_ONCE:
        return False
    for process in os.listdir("/proc"):
        try:
            if process.isdigit() and int(process) != os.getpid():
                # A process that has ended, and that nobody has asked about yet, has no words any more.
                with open("/proc/" + process + "/cmdline", "rb") as words:
                    if os.fsencode("/" + name + "\0") in words.read():
                        return True
        except OSError:  # noqa: PERF203 - it has ended
            continue
    return False


def is_first_silence(record: str) -> bool:
    """Say whether the last start was ended without a word, and the one before was not; note that it is so."""
    again = record + ".again"
    try:
        if os.path.getsize(record) or age(record) >= LIMIT or os.path.lexists(again):
            return False
        os.rename(record, again)
    except OSError:
        return False
    return True


def age(record: str) -> float:
    """Return how many seconds ago a start was noted: by the clock that nobody sets (see `noted`)."""
    return time.monotonic() - os.path.getmtime(record)


def dies(python: str) -> "str | None":
    """Return why this Python does not even start, or None."""
    try:
        child = os.posix_spawn(python, [python, "-IS", "-c", ""], os.environ)
    except OSError as error:
        return f"{python}: {error.strerror}"
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return f"{python} itself ends with code {code}" if code else None


def what_failed(record: str) -> str:
    """Say in one sentence why the last start counts as failed."""
    text = "\n".join(printed(record))
    # _launch.py has the stack written before the alarm ends a start; one that hangs earlier prints nothing.
    if "Timeout (" in text or (not text and age(record) >= LIMIT):
        return f"it did not answer within {LIMIT} seconds"
    return "it ended before it answered"


def printed(record: str) -> "list[str]":
    """Return the last lines of a failed start."""
    try:
        with open(record, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - TAIL))
            text = log.read(TAIL).decode("utf-8", "replace")
    except OSError:
        return []
    # Neither a variable of the environment nor a page takes everything that a program prints.
    lines = [line.replace("\0", "").rstrip()[:WIDTH] for line in text.splitlines() if line.strip()]
    # A stack that faulthandler wrote begins with the place that matters, an exception's ends with it.
    starts = [number for number, line in enumerate(lines) if line.startswith(("Timeout (", "Fatal Python error"))]
    stack = lines[starts[-1] :] if starts else []
    return stack[:SHOWN] if stack and not any(line.startswith("Traceback") for line in stack) else lines[-SHOWN:]


def message(kernel: str, reason: str, lines: "list[str]") -> str:
    """Return what the first cell shows."""
    version = ".".join(map(str, sys.version_info[:2]))
    return "\n".join(
        [
            f"The kernel {kernel!r} could not start: {reason}.",
            *(f"    {line}" for line in lines),
            f"This is the machine's own Python {version} instead; your files are as they were.",
            f'→ colab_env.setup() repairs what it can; then colab_env.switch("{kernel}") tries the kernel again.',
        ]
    )


def start_stock(text: str, connection_file: str) -> None:
    """Become the machine's own kernel, which shows the message with its first cell."""
    # The first version's shim in the launcher's place lets this process pass, and none that it starts.
    environ = {**os.environ, "COLAB_ENV_STOCK": str(os.getpid())}
    try:
        # Whole, this word would be replaced in the kernelspec that holds this text.
        python, *words = [word.replace("{" + "connection_file}", connection_file) for word in stock_argv()]
        if words[0] == "-m" and words[1]:
            words = ["-c", SOURCE or sys.orig_argv[sys.orig_argv.index("-c") + 1], "--tell", *words[1:]]
        try:  # noqa: SIM105 - contextlib takes milliseconds
            print(text, file=sys.stderr, flush=True)
        except OSError:
            pass  # nobody hears it
        os.execve(python, [python, *words], {**environ, "COLAB_ENV_TOLD": text})
    except Exception:  # a kernelspec of another shape, a message that cannot be handed on
        os.execve(sys.executable, [sys.executable, "-m", "ipykernel_launcher", "-f", connection_file], environ)


def stock_argv() -> "list[str]":
    """Return how the machine's own kernel is started: what its kernelspec says, or ipykernel of this Python."""
    import json

    for share in SHARED:
        try:
            with open(os.path.join(share, "jupyter/kernels/python3/kernel.json"), encoding="utf-8") as spec:
                python, *words = json.load(spec)["argv"]
        except (OSError, ValueError, KeyError):
            continue
        # A bare name means the notebook server's own Python.
        return [python if python.startswith("/") else sys.executable, *words]
    return [sys.executable, "-m", "ipykernel_launcher", "-f", "{" + "connection_file}"]


def tell(module: str, *arguments: str) -> None:
    """Run the module of the machine's own kernel, and show the message with the first cell."""
    import runpy

    text = os.environ.pop("COLAB_ENV_TOLD", "")
    sys.argv = [module, *arguments]
    sys.path[0] = os.getcwd()  # as with `-m`; `-c` has put an empty name there
    try:
        show_with_first_cell(text)
    finally:
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def tell_of_failure(kernel: str, connection_file: str, process: int, notice: str) -> None:
    """Say why a kernel did not come up in place: called by a startup file of IPython (see `guard.announce`)."""
    is_ours = "COLAB_ENV_MACHINE_PYTHON" in os.environ
    if is_ours or os.path.exists(f"/proc/{process}"):
        return  # it is still on its way
    os.unlink(notice)
    failed = next((path for path in records(os.path.basename(connection_file)) if os.path.lexists(path)), "")
    text = message(kernel, what_failed(failed) if failed else "it ended before it answered", printed(failed))
    forget(os.path.basename(connection_file) + ".log")
    from IPython import get_ipython

    show_once(text, get_ipython())


def show_with_first_cell(text: str) -> None:
    """Let the kernel application add one callback to its shell, which removes itself."""
    from ipykernel.kernelapp import IPKernelApp

    begin: "Any" = IPKernelApp.start

    def start_and_tell(app: "Any") -> None:
        show_once(text, app.shell)
        begin(app)

    setattr(IPKernelApp, "start", start_and_tell)


def show_once(text: str, shell: "Any") -> None:
    """Show the message with the shell's first cell."""

    def show(*_: object) -> None:
        shell.events.unregister("pre_run_cell", show)
        print(text, file=sys.stderr, flush=True)

    shell.events.register("pre_run_cell", show)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--tell"]:
        later()
        tell(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
