"""A client that plays the part of Colab's page: one session, its kernel's messages, the answers a page gives."""

from __future__ import annotations

import json
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests
import websocket

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

_SECONDS = 120
_ASK_AGAIN = 1
_PRESS_AGAIN = 3
CELL_ID = "cell-1"  # what the page calls the cell that it runs


class PageError(Exception):
    """The server refused a request, or a kernel did not answer in time."""


class SilenceError(PageError):
    """The kernel did not answer in time."""


class CrashError(PageError):
    """The kernel died without being told to; the page shows "Your session crashed"."""


@dataclass(frozen=True, kw_only=True)
class Slow:
    """An answer that a person takes some seconds to give."""

    data: Any
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An answer that is an error."""

    error: str


@dataclass(kw_only=True)
class Cell:
    """What one executed cell left behind."""

    stdout: str = ""
    stderr: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    """The last expression's value, by MIME type."""
    displays: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    """What displays were changed into later."""
    error: dict[str, Any] = field(default_factory=dict)
    """`ename`, `evalue`, `traceback` of an exception; empty when there was none."""
    asked: list[str] = field(default_factory=list)
    """The types of the requests that the kernel made to the page."""
    messages: list[dict[str, Any]] = field(default_factory=list)
    """All that was broadcast, the requests too."""
    reply: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The last expression's value as text, or an empty string."""
        return str(self.result.get("text/plain", ""))

    def take(self, message: Mapping[str, Any]) -> None:
        """Add what one iopub message brought."""
        kind, content = message["header"]["msg_type"], message["content"]
        self.messages.append(dict(message))
        if kind == "stream":
            setattr(self, content["name"], getattr(self, content["name"]) + content["text"])
        elif kind == "execute_result":
            self.result = content["data"]
        elif kind == "display_data":
            self.displays.append(content["data"])
        elif kind == "update_display_data":
            self.updates.append(content["data"])
        elif kind == "error":
            self.error = content


def _message(frame: str | bytes) -> dict[str, Any]:
    """Return a message; a binary frame has the number of its parts first, then where each begins (Jupyter's format)."""
    if isinstance(frame, str):
        return dict(json.loads(frame), buffers=[])
    count = int.from_bytes(frame[:4], "big")
    begins = [int.from_bytes(frame[at : at + 4], "big") for at in range(4, 4 + 4 * count, 4)]
    text, *buffers = (frame[begin:end] for begin, end in zip(begins, [*begins[1:], None], strict=True))
    return dict(json.loads(text), buffers=buffers)


class Page:
    """An open notebook: a session of its own with the server, connected to its kernel.

    `answers` are the page's answers to a kernel's requests, by request type: `{"GetSecret": {...}}`. A request of
    another type stays unanswered, as on a page that does not know it. An answer may be Slow, a Refusal, or a function of
    what is asked.
    """

    def __init__(
        self,
        url: str,
        *,
        answers: Mapping[str, Any] | None = None,
        name: str = "Untitled.ipynb",
        path: str | None = None,
    ) -> None:
        """Remember the server's URL; open() starts the kernel. A notebook's `path` may be another than its name."""
        self.url = url
        self.path = path or name
        self.answers = dict(answers or {})
        self.notebook = name
        self.session: dict[str, Any] = {}
        self.stderr = ""  # of all cells with their errors, also of those that nobody waits for any more
        self._client = uuid.uuid4().hex
        self._socket: websocket.WebSocket | None = None

    def __enter__(self) -> Self:
        """Return the page itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the page."""
        self.close()

    @property
    def kernel_id(self) -> str:
        """The id of the session's present kernel."""
        return str(self.session["kernel"]["id"])

    def open(self, kernel: str = "python3") -> Self:
        """Create a session with a kernel, by the kernelspec's name, and wait until it answers; return the page."""
        self.start(kernel)
        self.connect()
        return self

    def start(self, kernel: str = "python3") -> None:
        """Create a session, and wait for nothing."""
        body = {"path": self.path, "name": self.notebook, "type": "notebook", "kernel": {"name": kernel}}
        self.session = self.api("POST", "sessions", body)

    def switch(self, kernel: str) -> None:
        """Give the session another kernel, as picking one in the page does, and wait until it answers."""
        self.session = self.api("PATCH", f"sessions/{self.session['id']}", {"kernel": {"name": kernel}})
        self.connect()

    def interrupt(self) -> None:
        """Press the stop button."""
        self.api("POST", f"kernels/{self.kernel_id}/interrupt")

    def restart(self) -> None:
        """Restart the session, and wait until the kernel answers."""
        self.api("POST", f"kernels/{self.kernel_id}/restart")
        self.connect()

    def close(self) -> None:
        """Delete the session and end its kernel."""
        self._disconnect()
        if self.session:
            # The server answers 500 when the kernel could not start or has died.
            with suppress(PageError):
                self.api("DELETE", f"sessions/{self.session['id']}")
            self.session = {}

    def api(self, method: str, path: str, body: object = None) -> Any:
        """Call the server's REST interface below /api and return the answer; raise when it refuses."""
        answer = requests.request(method, f"{self.url}/api/{path}", json=body, timeout=_SECONDS)
        if not answer.ok:
            msg = f"{method} /api/{path}: {answer.status_code} {answer.text}"
            raise PageError(msg)
        return answer.json() if answer.content else None

    def connect(self, *, timeout: float = _SECONDS) -> None:
        """Connect to the session's present kernel and wait, at most `timeout` seconds, until it answers and is heard.

        Like Jupyter's own clients it asks again every second: what is asked in the moment of a restart is lost, and the
        server does not wait for its own subscription to a kernel that died while it was busy. And like a page it notices
        when its session is given another kernel meanwhile: that is an error here.
        """
        self._disconnect()
        address = f"{self.url.replace('http', 'ws', 1)}/api/kernels/{self.kernel_id}/channels?session_id={self._client}"
        try:
            self._socket = websocket.create_connection(address, timeout=timeout)
        except (websocket.WebSocketException, OSError) as error:
            msg = f"no connection to kernel {self.kernel_id}: {error}"
            raise PageError(msg) from error
        self._wait_until_heard(time.monotonic() + timeout)

    def _wait_until_heard(self, end: float) -> None:
        asked, missing = set(), {"kernel_info_reply", "status"}
        while missing:
            asked.add(self._send("shell", "kernel_info_request", {}))
            again = time.monotonic() + _ASK_AGAIN
            with suppress(SilenceError):
                while missing:
                    message = self._receive(min(again, end))
                    if message["parent_header"].get("msg_id") in asked:
                        missing.discard(message["header"]["msg_type"])
            if missing and time.monotonic() >= end:
                msg = f"no answer from kernel {self.kernel_id}"
                raise SilenceError(msg)
            if missing and self.api("GET", f"sessions/{self.session['id']}")["kernel"]["id"] != self.kernel_id:
                msg = f"the session has another kernel than {self.kernel_id} now"
                raise PageError(msg)

    def execute(self, code: str, *, inputs: Sequence[str] = (), timeout: float = _SECONDS) -> Cell:
        """Run a cell to its end, at most `timeout` seconds; `inputs` answer its calls of input(), in order.

        After an error ipykernel aborts for a moment what comes next, meant for the cells behind it in a Run all: such a
        cell is run again, as a person does.
        """
        end = time.monotonic() + timeout
        cell = self.finish(self.submit(code), inputs=inputs, timeout=timeout)
        while cell.reply.get("status") == "aborted" and time.monotonic() < end:
            time.sleep(0.05)
            cell = self.finish(self.submit(code), inputs=inputs, timeout=timeout)
        return cell

    def submit(self, code: str, *, allow_stdin: bool = True) -> str:
        """Start a cell and return its message id, for finish()."""
        content = {"code": code, "silent": False, "allow_stdin": allow_stdin}
        return self._send("shell", "execute_request", content, metadata={"colab": {"cell_id": CELL_ID}})

    def submit_until_output(self, code: str, *, timeout: float = _SECONDS) -> str:
        """Start a cell, wait until it prints, and return its message id: its code runs then, however busy the machine is.

        It is started again when an error before it aborted it, see execute().
        """
        end = time.monotonic() + timeout
        message_id = self.submit(code)
        while True:
            message = self._receive(end)
            if message["parent_header"].get("msg_id") != message_id:
                continue
            if message["header"]["msg_type"] == "stream":
                return message_id
            if message["header"]["msg_type"] == "execute_reply":
                if message["content"]["status"] != "aborted":
                    msg = f"the cell ended without output: {message['content']}"
                    raise PageError(msg)
                time.sleep(0.05)
                message_id = self.submit(code)

    def stop(self, message_id: str, *, timeout: float = _SECONDS) -> Cell:
        """Press the stop button, and again as a person does when nothing happens, until a started cell has ended."""
        self.interrupt()
        return self.finish(message_id, timeout=timeout, impatient=True)

    def finish(
        self, message_id: str, *, inputs: Sequence[str] = (), timeout: float = _SECONDS, impatient: bool = False
    ) -> Cell:
        """Collect a started cell's output until it has ended; play the page's part meanwhile."""
        cell, waiting, idle = Cell(), list(inputs), False
        end = time.monotonic() + timeout
        while not (idle and cell.reply):
            try:
                message = self._receive(min(end, time.monotonic() + _PRESS_AGAIN) if impatient else end)
            except SilenceError as error:
                if not impatient or time.monotonic() >= end:
                    msg = f"{error}; until then there was {cell}"
                    raise SilenceError(msg) from error
                self.interrupt()
                continue
            kind = message["header"]["msg_type"]
            if kind == "colab_request":
                self._answer(message, cell)
            elif message["parent_header"].get("msg_id") != message_id:
                continue
            elif kind == "input_request":
                self._send("stdin", "input_reply", {"value": waiting.pop(0)})
            elif kind == "execute_reply":
                cell.reply = message["content"]
            elif kind == "status":
                idle = message["content"]["execution_state"] == "idle"
            cell.take(message)
        return cell

    def complete(self, code: str) -> dict[str, Any]:
        """Return the completions at the end of the code, with the metadata that Colab's page asks for."""
        metadata = {"colab_options": {"include_colab_metadata": True}}
        return self.ask("complete_request", {"code": code, "cursor_pos": len(code)}, metadata=metadata)

    def inspect(self, code: str) -> dict[str, Any]:
        """Return what the kernel tells about the name at the end of the code."""
        return self.ask("inspect_request", {"code": code, "cursor_pos": len(code), "detail_level": 0})

    def ask(self, kind: str, content: object, *, metadata: object = None, timeout: float = _SECONDS) -> dict[str, Any]:
        """Send a request on the shell channel and return the content of its reply; a broken kernel's may be text."""
        message_id = self._send("shell", kind, content, metadata=metadata)
        end = time.monotonic() + timeout
        while True:
            message = self._receive(end)
            if message["channel"] == "shell" and message["parent_header"].get("msg_id") == message_id:
                reply: dict[str, Any] = message["content"]
                return reply

    def _answer(self, request: Mapping[str, Any], cell: Cell) -> None:
        metadata = request["metadata"]
        kind = metadata["colab_request_type"]
        cell.asked.append(kind)
        if kind in self.answers and "colab_msg_id" in metadata:
            answer = self.answers[kind]
            if isinstance(answer, Slow):
                time.sleep(answer.seconds)
                answer = answer.data
            if callable(answer):
                answer = answer(request["content"]["request"])
            said = {"error": answer.error} if isinstance(answer, Refusal) else {"data": answer}
            reply = {"type": "colab_reply", "colab_msg_id": metadata["colab_msg_id"], **said}
            self._send("stdin", "input_reply", {"value": reply})

    def _send(self, channel: str, kind: str, content: object, *, metadata: object = None) -> str:
        message_id = uuid.uuid4().hex
        header = {"msg_id": message_id, "msg_type": kind, "session": self._client, "username": "", "version": "5.3"}
        message = {"channel": channel, "header": header, "parent_header": {}, "metadata": metadata or {}}
        self._connected().send(json.dumps({**message, "content": content}))
        return message_id

    def _receive(self, end: float) -> dict[str, Any]:
        socket = self._connected()
        socket.settimeout(max(end - time.monotonic(), 0.001))
        try:
            message = _message(socket.recv())
        except websocket.WebSocketTimeoutException as error:
            msg = f"no answer from kernel {self.kernel_id}: {error}"
            raise SilenceError(msg) from error
        except (websocket.WebSocketException, ValueError, OSError) as error:
            msg = f"no answer from kernel {self.kernel_id}: {error}"
            raise PageError(msg) from error
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream" and content["name"] == "stderr":
            self.stderr += content["text"]
        elif kind == "error":
            self.stderr += f"{content['ename']}: {content['evalue']}\n"
        if message["content"].get("execution_state") in {"restarting", "dead"}:
            msg = f"kernel {self.kernel_id} died"
            raise CrashError(msg)
        return message

    def _connected(self) -> websocket.WebSocket:
        if self._socket is None:
            msg = f"{self.notebook} has no kernel: call open() first"
            raise PageError(msg)
        return self._socket

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
