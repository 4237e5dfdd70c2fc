"""A kernel in the background, driven from a notebook's cell: what it shows appears in that cell as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib.util
import inspect
import itertools
import os
import signal
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from colab_env import _process
from colab_env.errors import PreflightError, UsageError
from colab_env.jupyter import diversion
from colab_env.standalone import _plain

# Seconds for a start and, where the kernel is silent all the time, for another: rarely, one of ipykernel 7 takes no request from
# its beginning on.
_STARTS = (30.0, 60.0)
_CONNECT = 5000  # milliseconds, to a kernel that has answered already
_POLL = 100  # milliseconds between two looks whether the kernel still lives
_LATE = 0.3  # seconds between two looks for what comes after its cell, such as a thread's prints
_AT_ONCE = 500  # messages of one channel that are taken before the others have their turn
_NUDGE = 2.0  # seconds of silence after which a kernel that is not at work is asked for something else
_OUTPUT = ("stream", "display_data", "execute_result", "update_display_data", "error")
_PAGE_IDS = itertools.count(10**9)  # of requests to Colab's page; the notebook's own kernel counts from 1
# Where the notebook's own kernel has no ipywidgets its page shows none: tqdm then draws its bar as text.
_TEXT_BARS = """
def _text_bars():
    import importlib.util, sys, types
    if importlib.util.find_spec("tqdm"):
        from tqdm import std
        bars = types.ModuleType("tqdm.notebook")
        bars.tqdm = bars.tqdm_notebook = std.tqdm
        bars.trange = bars.tnrange = std.trange
        bars.IProgress, bars.WARN_NOIPYW = object, ""  # what tqdm.auto looks at
        sys.modules["tqdm.notebook"] = bars
_text_bars()
del _text_bars
"""
_CALLBACKS = "__import__('google.colab.output._js', fromlist=['_functions'])._functions"
_HELPER = "__import__('colab_env._plain', fromlist=['packed'])"
# Kernels of other tools have no layer of ours, in which this module lies.
_BRING_HELPER = """
def _bring_helper():
    import sys, types
    try:
        import colab_env._plain
    except ImportError:
        module = sys.modules["colab_env._plain"] = types.ModuleType("colab_env._plain")
        exec({source!r}, module.__dict__)
_bring_helper()
del _bring_helper
"""


class CellError(Exception):
    """The cell raised in the other kernel; shown as its own traceback, under its own name: see `cell_error`."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(content["evalue"])
        self.lines = [str(line) for line in content["traceback"]]
        self.details = content.get("error_details")  # what Colab's page makes buttons of, such as "Open examples"

    def _render_traceback_(self) -> Any:
        lines = self.lines or [f"{type(self).__name__}: {self}"]
        colab = sys.modules.get("google.colab._shell_customizations")
        return colab.ColabTraceback(lines, self.details) if colab is not None and self.details else lines


def cell_error(content: Mapping[str, Any]) -> CellError:
    """Return the exception that an error message or an error reply tells of, of a class with its name."""
    kind: type[CellError] = type(str(content["ename"]), (CellError,), {})
    return kind(content)


@dataclass(frozen=True, kw_only=True)
class _Comm:
    """A widget of the other kernel, where the notebook's own looks for it: what the page tells it goes on to its maker."""

    kernel: BackgroundKernel
    comm_id: str
    target_name: str

    def handle_msg(self, message: Mapping[str, Any]) -> None:
        self.kernel.tell(message)

    handle_close = handle_msg

    def close(self, *_: object, **__: object) -> None:
        """Do nothing: the notebook's kernel calls this when it ends, and the other one ends with it."""


class BackgroundKernel:
    """One kernel of ours, started when it is first needed; `shell` is the notebook's own, where everything is shown."""

    def __init__(self, name: str, shell: Any) -> None:
        self.name = name
        self.shell = shell
        # Without a name: whatever ends this process, nothing is left.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed below)
        weakref.finalize(self, self._log.close)
        self._manager: Any = None
        self._iopub: Any = None
        self._shell_socket: Any = None
        self._stdin: Any = None
        self._listening = False
        self._has_helper = False
        self._heard = 0.0  # when anything came, by the clock that never goes back
        # One conversation at a time: ipykernel 7 hands what the page tells a widget to a thread of its own, while a cell may run
        # here, and either would take the other's answers off the sockets.
        self._turn = threading.RLock()
        self._asked: dict[int, Any] = {}  # requests that Colab's page has not answered, by the id it knows
        # What was run here and may still print; the context says to the notebook's kernel which cell that belongs to.
        self._cells: dict[str, contextvars.Context] = {}

    @property
    def is_alive(self) -> bool:
        return self._manager is not None and self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the kernel, without the guard's replacement: a cell for this Python must not run on another."""
        if not any(self._answers_within(seconds) for seconds in _STARTS):
            error = self._died(f"did not answer within {_STARTS[-1]:g} s")
            self.close()
            raise error
        if importlib.util.find_spec("ipywidgets") is None:
            self.run(_TEXT_BARS, show=_show_nothing)

    def _answers_within(self, seconds: float) -> bool:
        """Start the kernel anew, connect, and say whether it has answered."""
        import zmq
        from jupyter_client.manager import KernelManager

        self.close()
        self._has_helper = False
        # A plain context: jupyter_client 7 would make sockets that only a running event loop can read.
        self._manager = KernelManager(kernel_name=self.name, context=zmq.Context())
        self._log.seek(0)
        self._log.truncate()
        environ = {**os.environ, **diversion.TRIAL}
        _aside(lambda: self._manager.start_kernel(env=environ, stdout=self._log, stderr=self._log))
        identity = self._manager.session.bsession
        self._iopub = self._manager.connect_iopub()
        self._shell_socket = self._manager.connect_shell(identity=identity)
        self._stdin = self._manager.connect_stdin(identity=identity)
        connected = self._stdin.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        is_up = self._has_answered(seconds)
        # Each socket connects in a moment of its own. What a kernel asks before this one has is lost, and it waits for the answer.
        connected.poll(_CONNECT if is_up else 0)
        self._stdin.disable_monitor()
        connected.close()
        return is_up

    def close(self) -> None:
        """End the kernel with everything that it started."""
        if self.is_alive:
            _process.signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._manager is not None:
            _aside(self._manager.cleanup_resources)
            self._manager.context.destroy(linger=0)
            self._manager = None

    @property
    def _process(self) -> Any:
        return getattr(self._manager.provisioner, "process", None)

    def _has_answered(self, seconds: float) -> bool:
        # Asked again and again: only what comes after the subscription is heard.
        deadline, heard = time.monotonic() + seconds, False
        try:
            while not heard and time.monotonic() < deadline:
                self._send("kernel_info_request", {})
                heard = any(message["msg_type"] == "status" for message in self._messages())
        except PreflightError:
            self.close()
            raise
        return heard

    def _send(
        self, kind: str, content: Mapping[str, Any], *, to: Any = None, buffers: Any = None, metadata: Any = None
    ) -> str:
        message = self._manager.session.send(
            to or self._shell_socket, kind, dict(content), buffers=buffers, metadata=metadata
        )
        return str(message["header"]["msg_id"])

    def push(self, values: Mapping[str, Any]) -> None:
        """Give the kernel's user plain values. Raises UsageError for others."""
        if values:
            self._bring_helper()
        for name, value in values.items():
            try:
                text = _plain.packed(value)
            except TypeError as error:
                raise _not_plain(name, error) from error
            self.run(f"{name} = {_HELPER}.unpacked({text!r})", show=_show_nothing)

    def pull(self, names: list[str]) -> dict[str, Any]:
        """Return plain values of the kernel's user. Raises UsageError for others and for names that are not there."""
        self._bring_helper()
        reply = self.run("", show=_show_nothing, expressions={name: f"{_HELPER}.packed({name})" for name in names})
        values = {}
        for name, answer in reply["user_expressions"].items():
            if answer["status"] != "ok":
                raise _not_plain(name, answer["evalue"])
            values[name] = _plain.unpacked(answer["data"]["text/plain"].strip("'"))
        return values

    def _bring_helper(self) -> None:
        if not self._has_helper:
            self.run(_BRING_HELPER.format(source=inspect.getsource(_plain)), show=_show_nothing)
            self._has_helper = True

    def run(
        self,
        code: str,
        *,
        show: Callable[[Mapping[str, Any]], None] | None = None,
        expressions: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Run a cell to its end, showing what comes, and return its reply. The stop button stops the cell there.

        Raises CellError with the cell's own traceback, KeyboardInterrupt, or PreflightError when the kernel dies.
        """
        content = {"code": code, "silent": show is not None, "store_history": show is None, "stop_on_error": True}
        content.update(user_expressions=dict(expressions or {}), allow_stdin=self._takes_input)
        errors: list[Mapping[str, Any]] = []
        usage_errors: list[Mapping[str, Any]] = []  # printed there, and perhaps what the cell ends with
        figures: list[Mapping[str, Any]] = []  # which matplotlib draws below the exception that ends a cell

        def show_here(message: Mapping[str, Any]) -> None:
            if errors and message["msg_type"] == "display_data":
                figures.append(message)
            else:
                self._show_after(message, usage_errors, figures)

        with self._turn:
            # Colab's page says there which of its cells this is, and its kernel keeps that in the history.
            metadata = getattr(self.shell, "parent_header", {}).get("metadata")
            request_id = self._send("execute_request", content, metadata=metadata)
            if show is None:
                self._cells[request_id] = contextvars.copy_context()
                self._listen()
            try:
                reply = self._watched(request_id, show or show_here, errors=errors)
            finally:
                self._asked.clear()  # an answer that comes later is for nobody
        for payload in reply.get("payload", ()):
            self.shell.payload_manager.write_payload(payload)
        if usage_errors and not errors and reply.get("ename") == "UsageError":
            from IPython.core.error import UsageError as MagicError

            # Such as a magic that is not there: printed here as IPython does, and once.
            raise MagicError(reply["evalue"])
        for message in usage_errors:
            self._show(message)
        if reply["status"] == "error":
            last = errors.pop()["content"] if errors else reply
            self._show_errors(errors)  # such as the one that %pdb was to look into
            self._show_below(figures)
            raise KeyboardInterrupt if reply["ename"] == "KeyboardInterrupt" else cell_error(last)
        self._show_errors(errors)  # shown, not raised, as by %tb
        for message in figures:
            self._show(message)
        return reply

    def _show_after(
        self, message: Mapping[str, Any], usage_errors: list[Mapping[str, Any]], figures: list[Mapping[str, Any]]
    ) -> None:
        """Show a message after those that were held back, or hold it back if it is a usage error or the end of its line."""
        if usage_errors and self._is_line_end(message):
            usage_errors.append(message)
            return
        for held in (*usage_errors, *figures):
            self._show(held)
        usage_errors.clear()
        figures.clear()
        usage_errors.append(message) if _is_usage_error(message) else self._show(message)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Pass on what the page tells a widget of this kernel, and show what comes of it."""
        with self._turn:
            if self.is_alive:
                request_id = self._send(message["header"]["msg_type"], message["content"], buffers=message["buffers"])
                self._cells[request_id] = contextvars.copy_context()
                self._watched(request_id, self._show, is_answered=False)

    def adopt(self, message: Mapping[str, Any]) -> None:
        """Open the channel that the page opens to something in this kernel, such as a download."""
        content = message["content"]
        comm = _Comm(kernel=self, comm_id=content["comm_id"], target_name=content["target_name"])
        self.shell.kernel.comm_manager.comms[comm.comm_id] = comm
        self.tell(message)

    def ask(
        self, kind: str, content: Mapping[str, Any], *, metadata: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the reply to a request about code that is not run: "complete_request" or "inspect_request"."""
        with self._turn:
            reply = self._watched(self._send(kind, content, metadata=metadata), _show_nothing)
        # google.colab's kernel answers with a bare string when it failed.
        return reply if isinstance(reply, dict) else {"status": "ok"}

    def has_callback(self, name: str) -> bool:
        """Say whether code in this kernel has registered a function for the page."""
        return self.is_alive and self._value(f"{name!r} in {_CALLBACKS}")["text/plain"] == "True"

    def call(self, name: str, *arguments: Any, **options: Any) -> Shown:
        """Call a function that was registered in this kernel for the page, with values of JSON's kinds."""
        return Shown(self._value(f"{_CALLBACKS}[{name!r}](*{arguments!r}, **{options!r})", show=self._show))

    def _value(self, expression: str, *, show: Callable[[Mapping[str, Any]], None] | None = None) -> dict[str, Any]:
        reply = self.run("", show=show or _show_nothing, expressions={"value": expression})["user_expressions"]["value"]
        if reply["status"] != "ok":
            raise cell_error(reply)
        data: dict[str, Any] = reply["data"]
        return data

    def _watched(
        self,
        request_id: str,
        show: Callable[[Mapping[str, Any]], None],
        *,
        is_answered: bool = True,
        errors: list[Mapping[str, Any]] | None = None,
    ) -> dict[str, Any]:
        busy = idle = False
        reply: dict[str, Any] | None = None if is_answered else {}
        self._heard = time.monotonic()
        while reply is None or not idle:
            try:
                self._nudge(is_at_work=busy and not idle)
                for message in self._messages():
                    kind, content = message["msg_type"], message["content"]
                    is_own = message["parent_header"].get("msg_id") == request_id
                    if kind == "input_request":
                        self._show_errors(errors)  # a debugger asks below the exception that it is about
                        self._send("input_reply", {"value": _answer(content)}, to=self._stdin)
                    elif kind == "colab_request":
                        self._pass_on(message)
                    elif not is_own:
                        self._show_late(message)
                    elif kind.endswith("_reply"):
                        reply = content
                    elif kind == "status":
                        busy, idle = True, content["execution_state"] == "idle"
                    elif kind == "error" and errors is not None:
                        errors.append(message)
                    else:
                        self._show_captured(errors, message)
                        show(message)
            except KeyboardInterrupt:  # noqa: PERF203 - what is slow here is the kernel
                _process.signal_group(self._process.pid, signal.SIGINT)
        return reply

    def _nudge(self, *, is_at_work: bool) -> None:
        """Send a silent kernel another request: what lies in a queue there, or an answer of its, goes on with that."""
        if not is_at_work and time.monotonic() - self._heard > _NUDGE:
            self._send("kernel_info_request", {})
            self._heard = time.monotonic()

    @property
    def _takes_input(self) -> bool:
        """Say whether anybody answers `input()`: nbclient and papermill have nobody to ask, and say so with each cell."""
        kernel = getattr(self.shell, "kernel", None)
        request = kernel.get_parent("shell") if kernel is not None else {}
        return bool(request.get("content", {}).get("allow_stdin", True))

    def _show_errors(self, errors: list[Mapping[str, Any]] | None) -> None:
        while errors:
            self._pass_on(errors.pop(0))

    def _show_below(self, messages: list[Mapping[str, Any]]) -> None:
        """Show messages once this cell has ended, and the exception that ends it is shown."""

        def show(*_: object) -> None:
            self.shell.events.unregister("post_run_cell", show)
            for message in messages:
                self._show(message)

        if messages:
            self.shell.events.register("post_run_cell", show)

    def _show_captured(self, errors: list[Mapping[str, Any]] | None, message: Mapping[str, Any]) -> None:
        """Show the exceptions inside `with out:` of ipywidgets before that ends; the cell's own comes after all else."""
        while errors and _capturing_request(message) == "":
            self._pass_on(errors.pop(0))

    def _messages(self, wait: int = _POLL) -> list[Mapping[str, Any]]:
        import zmq

        # Only Colab's page answers requests on stdin; elsewhere that socket is this kernel's alone.
        page = getattr(self.shell.kernel, "stdin_socket", None) if "google.colab" in sys.modules else None
        sockets = (self._iopub, self._shell_socket, self._stdin)
        poller = zmq.Poller()
        for socket in (*sockets, *([page] if page is not None else [])):
            poller.register(socket, zmq.POLLIN)
        ready = dict(poller.poll(wait))
        if page is not None and page in ready:
            self._hear_page(page)
        if ready:
            self._heard = time.monotonic()
        elif not self.is_alive:
            raise self._died("has ended")
        return [message for socket in sockets if socket in ready for message in self._received(socket)]

    def _received(self, socket: Any) -> Iterator[Mapping[str, Any]]:
        import zmq

        for _ in range(_AT_ONCE):
            message = self._manager.session.recv(socket, mode=zmq.NOBLOCK, content=False)[1]
            # Nothing is waiting any more.
            if message is None:
                return
            if message["msg_type"] != "stream":  # see `_show_text`
                message["content"] = self._manager.session.unpack(message["content"])
            yield message

    def _hear_page(self, socket: Any) -> None:
        """Pass on what the page sends while a cell runs here: answers to its requests, and what is typed for a program."""
        import zmq

        message = self.shell.kernel.session.recv(socket, mode=zmq.NOBLOCK)[1]
        value = message["content"].get("value", "") if message else None
        if isinstance(value, dict) and value.get("type") == "colab_reply":
            # The page answers by the number that this kernel gave; the other kernel waits for its own.
            number = self._asked.pop(value.get("colab_msg_id", 0), None)
            value = None if number is None else {**value, "colab_msg_id": number}
        if value is not None:
            self._send("input_reply", {"value": value}, to=self._stdin)

    def _listen(self) -> None:
        """Look again and again, whenever the notebook is idle, for what the cells that have ended still print."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # no kernel's
        if not self._listening:
            self._listening = True
            loop.call_later(_LATE, self._look_for_late, loop)

    def _look_for_late(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self.is_alive:
            self._listening = False
            return
        # In another thread's turn, that one reads these sockets.
        if self._turn.acquire(blocking=False):
            try:
                with contextlib.suppress(PreflightError):
                    for message in self._messages(wait=0):
                        self._show_late(message)
                _flush()
            finally:
                self._turn.release()
        loop.call_later(_LATE, self._look_for_late, loop)

    def _show_late(self, message: Mapping[str, Any]) -> None:
        cell = self._cells.get(message["parent_header"].get("msg_id", ""))
        if cell is not None and (message["msg_type"] in _OUTPUT or message["msg_type"].startswith("comm_")):
            cell.run(self._show, message)

    def _show(self, message: Mapping[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind.startswith("comm_") and not hasattr(self.shell, "kernel"):
            return  # IPython in a terminal, which has no page for widgets
        if kind == "stream":
            self._show_text(message)
        elif kind == "execute_result" and sys.displayhook is self.shell.displayhook:  # else something captures values
            number = {"execution_count": self.shell.execution_count}
            self._pass_on({**message, "content": {**content, **number}})
        elif kind in ("display_data", "execute_result", "update_display_data"):
            self.shell.display_pub.publish(
                data=content["data"],
                metadata=content["metadata"],
                transient=content.get("transient"),
                update=kind == "update_display_data",
            )
        elif kind in ("clear_output", "error") or kind.startswith(("comm_", "colab_")):
            self._pass_on(message)
            # A widget's later messages go through this kernel, which has to know the comm by then.
            if kind == "comm_open":
                comm = _Comm(kernel=self, comm_id=content["comm_id"], target_name=content["target_name"])
                self.shell.kernel.comm_manager.comms[comm.comm_id] = comm
            elif kind == "comm_close":
                self.shell.kernel.comm_manager.comms.pop(content["comm_id"], None)

    def _is_line_end(self, message: Mapping[str, Any]) -> bool:
        """Say whether this is the end of a line alone, which is written, and so may come, after the line."""
        return message["msg_type"] == "stream" and bool(
            self._manager.session.unpack(message["content"])["text"] == "\n"
        )

    def _show_text(self, message: Mapping[str, Any]) -> None:
        """Print what was printed there; unread where nothing here captures it: unpacking and packing take longer than printing."""
        from ipykernel.iostream import OutStream

        if isinstance(sys.stdout, OutStream) and isinstance(sys.stderr, OutStream):
            self._pass_on(message)
        else:
            content = self._manager.session.unpack(message["content"])
            getattr(sys, content["name"]).write(content["text"])

    def _pass_on(self, message: Mapping[str, Any]) -> None:
        """Send a message as the notebook's own: widgets' states, so that progress bars move; requests to Colab's page.

        So are the tags of what is to be cleared, which IPython's own function does not know.
        """
        if not hasattr(self.shell, "kernel"):
            _print(message)
            return
        kernel, metadata, content = self.shell.kernel, message["metadata"], message["content"]
        parent = kernel.get_parent("shell")
        if _capturing_request(message):
            # On this page, that is the notebook's own.
            data = content["data"]
            content = {**content, "data": {**data, "state": {**data["state"], "msg_id": parent["header"]["msg_id"]}}}
        if not message["msg_type"].startswith("comm_"):
            _flush()  # what was printed before stands above it
        if message["msg_type"] == "colab_request":
            if "colab_msg_id" in metadata:
                number = next(_PAGE_IDS)
                self._asked[number] = metadata["colab_msg_id"]
                metadata = {**metadata, "colab_msg_id": number}
            if "msg_id" not in message["parent_header"]:  # it belongs to the page, not to one cell
                parent = {"header": {"session": parent["header"]["session"]}}
        kernel.session.send(
            kernel.iopub_socket,
            message["msg_type"],
            content,
            metadata=metadata,
            parent=parent,
            buffers=message["buffers"],
        )

    def _died(self, how: str) -> PreflightError:
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").splitlines()[-12:]
        text = "\n".join([f"the kernel {self.name!r} {how}", *(f"    {line}" for line in lines)])
        return PreflightError(text, hint="the next %%colab_env cell starts it anew; setup() repairs what it can")


@dataclass(frozen=True, kw_only=False)
class Shown:
    """A value of the other kernel, as it shows itself."""

    data: Mapping[str, Any]

    def _repr_mimebundle_(self, **_: Any) -> Mapping[str, Any]:
        return self.data


def _capturing_request(message: Mapping[str, Any]) -> str | None:
    """Return the request whose output an Output of ipywidgets takes from now on, "" where it stops; None for other messages."""
    data = message["content"]["data"] if message["msg_type"] == "comm_msg" else None
    state = data.get("state") if isinstance(data, dict) else None
    return state.get("msg_id") if isinstance(state, dict) else None


def _print(message: Mapping[str, Any]) -> None:
    """Show a value or an exception in a terminal."""
    content = message["content"]
    lines = content["traceback"] if message["msg_type"] == "error" else [content.get("data", {}).get("text/plain")]
    for line in filter(None, lines):
        sys.stdout.write(f"{line}\n")


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _is_usage_error(message: Mapping[str, Any]) -> bool:
    # A stream's content is not unpacked: see `_show_text`.
    return message["msg_type"] == "stream" and b'"UsageError: ' in message["content"][:100]


def _answer(request: Mapping[str, Any]) -> str:
    import getpass

    try:
        return getpass.getpass(request["prompt"]) if request["password"] else input(request["prompt"])
    except EOFError:  # a terminal whose input has ended
        return "\x04"  # which ipykernel makes an EOFError of


def _aside(task: Callable[[], Any]) -> None:
    # In a thread without an event loop: jupyter_client would change the one that the notebook's kernel runs on.
    def run() -> None:
        try:
            task()
        finally:
            with contextlib.suppress(RuntimeError):  # there is none where nothing asked for one
                asyncio.get_event_loop().close()  # jupyter_client's own for this thread, which ends here

    with ThreadPoolExecutor(1) as pool:
        try:
            future = pool.submit(run)
        except RuntimeError:  # Python ends: no thread starts any more, and no loop runs that could be changed
            task()
        else:
            future.result()


def _show_nothing(_message: Mapping[str, Any]) -> None:
    pass


def _not_plain(name: str, problem: object) -> UsageError:
    kinds = "None, truth values, numbers, text, bytes, and lists, tuples, sets and dicts of these"
    return UsageError(f"{name} cannot be carried across: {problem}", hint=f"what can be: {kinds}")
