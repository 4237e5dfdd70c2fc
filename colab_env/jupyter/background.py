"""A kernel in the background, driven from a notebook's cell: what it shows appears in that cell as it comes."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colab_env import _process
from colab_env.errors import PreflightError, UsageError
from colab_env.jupyter import guard
from colab_env.standalone import _plain

_START = 60.0  # seconds
_POLL = 100  # milliseconds between two looks whether the kernel still lives
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
_HELPER = "__import__('colab_env._plain', fromlist=['packed'])"


class CellError(Exception):
    """The cell raised in the other kernel; shown as its own traceback."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(f"{content['ename']}: {content['evalue']}")
        self.lines = [str(line) for line in content["traceback"]]

    def _render_traceback_(self) -> list[str]:
        return self.lines or [str(self)]


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
        self._log = Path(tempfile.mkdtemp(prefix="colab-env-")) / "log"
        self._manager: Any = None
        self._iopub: Any = None
        self._shell_socket: Any = None
        self._stdin: Any = None

    @property
    def is_alive(self) -> bool:
        return self._manager is not None and self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the kernel, without the guard's replacement: a cell for this Python must not run on another."""
        import zmq
        from jupyter_client.manager import KernelManager

        self.close()
        # A plain context: jupyter_client 7 would make sockets that only a running event loop can read.
        self._manager = KernelManager(kernel_name=self.name, context=zmq.Context())
        with self._log.open("wb") as log:
            environ = {**os.environ, **guard.TRIAL}
            _aside(lambda: self._manager.start_kernel(env=environ, stdout=log, stderr=log))
        identity = self._manager.session.bsession
        self._iopub = self._manager.connect_iopub()
        self._shell_socket = self._manager.connect_shell(identity=identity)
        self._stdin = self._manager.connect_stdin(identity=identity)
        self._wait()
        if importlib.util.find_spec("ipywidgets") is None:
            self.run(_TEXT_BARS, show=_show_nothing)

    def close(self) -> None:
        """End the kernel with everything that it started."""
        if self.is_alive:
            _process.signal_group(self._process.pid, signal.SIGKILL)
        if self._manager is not None:
            _aside(self._manager.cleanup_resources)
            self._manager.context.destroy(linger=0)
            self._manager = None

    @property
    def _process(self) -> Any:
        return getattr(self._manager.provisioner, "process", None)

    def _wait(self) -> None:
        # Asked again and again: only what comes after the subscription is heard.
        deadline, heard = time.monotonic() + _START, False
        try:
            while not heard:
                self._send("kernel_info_request", {})
                heard = any(message["msg_type"] == "status" for message in self._messages())
                if time.monotonic() > deadline:
                    msg = f"did not answer within {_START:g} s"
                    raise self._died(msg)
        except PreflightError:
            self.close()
            raise

    def _send(self, kind: str, content: Mapping[str, Any], *, to: Any = None, buffers: Any = None) -> str:
        message = self._manager.session.send(to or self._shell_socket, kind, dict(content), buffers=buffers)
        return str(message["header"]["msg_id"])

    def push(self, values: Mapping[str, Any]) -> None:
        """Give the kernel's user plain values. Raises UsageError for others."""
        for name, value in values.items():
            try:
                text = _plain.packed(value)
            except TypeError as error:
                raise _not_plain(name, error) from error
            self.run(f"{name} = {_HELPER}.unpacked({text!r})", show=_show_nothing)

    def pull(self, names: list[str]) -> dict[str, Any]:
        """Return plain values of the kernel's user. Raises UsageError for others and for names that are not there."""
        reply = self.run("", show=_show_nothing, expressions={name: f"{_HELPER}.packed({name})" for name in names})
        values = {}
        for name, answer in reply["user_expressions"].items():
            if answer["status"] != "ok":
                raise _not_plain(name, answer["evalue"])
            values[name] = _plain.unpacked(answer["data"]["text/plain"].strip("'"))
        return values

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
        content = {"code": code, "silent": show is not None, "store_history": False, "stop_on_error": True}
        content.update(user_expressions=dict(expressions or {}), allow_stdin=True)
        reply = self._watched(self._send("execute_request", content), show or self._show)
        if reply["status"] == "error":
            raise KeyboardInterrupt if reply["ename"] == "KeyboardInterrupt" else CellError(reply)
        return reply

    def tell(self, message: Mapping[str, Any]) -> None:
        """Pass on what the page tells a widget of this kernel, and show what comes of it."""
        if self.is_alive:
            asked = self._send(message["header"]["msg_type"], message["content"], buffers=message["buffers"])
            self._watched(asked, self._show, is_answered=False)

    def _watched(
        self, asked: str, show: Callable[[Mapping[str, Any]], None], *, is_answered: bool = True
    ) -> dict[str, Any]:
        idle = False
        reply: dict[str, Any] | None = None if is_answered else {}
        while reply is None or not idle:
            try:
                for message in self._messages():
                    kind, content = message["msg_type"], message["content"]
                    if kind == "input_request":
                        self._send("input_reply", {"value": _answer(content)}, to=self._stdin)
                    elif kind == "colab_request":
                        self._pass_on(message)
                    elif message["parent_header"].get("msg_id") != asked:
                        continue
                    elif kind == "execute_reply":
                        reply = content
                    elif kind == "status":
                        idle = content["execution_state"] == "idle"
                    else:
                        show(message)
            except KeyboardInterrupt:
                _process.signal_group(self._process.pid, signal.SIGINT)
        return reply

    def _messages(self) -> list[Mapping[str, Any]]:
        import zmq

        poller = zmq.Poller()
        for socket in (self._iopub, self._shell_socket, self._stdin):
            poller.register(socket, zmq.POLLIN)
        ready = poller.poll(_POLL)
        if not ready and not self.is_alive:
            raise self._died("has ended")
        return [self._manager.session.recv(socket, mode=zmq.NOBLOCK)[1] for socket, _ in ready]

    def _show(self, message: Mapping[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            stream = getattr(sys, content["name"])
            stream.write(content["text"])
            stream.flush()
        elif kind in ("display_data", "execute_result", "update_display_data"):
            self.shell.display_pub.publish(
                data=content["data"],
                metadata=content["metadata"],
                transient=content.get("transient"),
                update=kind == "update_display_data",
            )
        elif kind == "clear_output":
            self.shell.display_pub.clear_output(wait=content["wait"])
        elif kind.startswith(("comm_", "colab_")):
            self._pass_on(message)
            if kind == "comm_open":
                comm = _Comm(kernel=self, comm_id=content["comm_id"], target_name=content["target_name"])
                self.shell.kernel.comm_manager.comms[comm.comm_id] = comm
            elif kind == "comm_close":
                self.shell.kernel.comm_manager.comms.pop(content["comm_id"], None)

    def _pass_on(self, message: Mapping[str, Any]) -> None:
        """Send a message as the notebook's own: widgets' states, so that progress bars move; requests to Colab's page."""
        kernel = self.shell.kernel
        if message["msg_type"] == "colab_request" and "colab_msg_id" in message["metadata"]:
            self._ask_page(message)
            return
        kernel.session.send(
            kernel.iopub_socket,
            message["msg_type"],
            message["content"],
            metadata=message["metadata"],
            parent=kernel.get_parent("shell"),
            buffers=message["buffers"],
        )

    def _ask_page(self, message: Mapping[str, Any]) -> None:
        from google.colab import _message  # type: ignore[import-not-found]

        asked = message["metadata"]
        data = _message.blocking_request(asked["colab_request_type"], request=message["content"].get("request", ""))
        value = {"type": "colab_reply", "colab_msg_id": asked["colab_msg_id"], "data": data}
        self._send("input_reply", {"value": value}, to=self._stdin)

    def _died(self, how: str) -> PreflightError:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
        text = "\n".join([f"the kernel {self.name!r} {how}", *(f"    {line}" for line in lines)])
        return PreflightError(text, hint="the next %%colab_env cell starts it anew; setup() repairs what it can")


def _answer(request: Mapping[str, Any]) -> str:
    import getpass

    return getpass.getpass(request["prompt"]) if request["password"] else input(request["prompt"])


def _aside(task: Callable[[], Any]) -> None:
    # In a thread without an event loop: jupyter_client would change the one that the notebook's kernel runs on.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(task).result()


def _show_nothing(_message: Mapping[str, Any]) -> None:
    pass


def _not_plain(name: str, problem: object) -> UsageError:
    kinds = "None, truth values, numbers, text, bytes, and lists, tuples, sets and dicts of these"
    return UsageError(f"{name} cannot be carried across: {problem}", hint=f"what can be: {kinds}")
