"""Try a kernel the way Colab will use it, before anybody depends on it.

A script for any Python (3.8 or later) that has jupyter_client; it imports nothing of colab_env. It reads one JSON
object from standard input (see `Request`), starts the kernel as Colab's server does, plays Colab's page, and writes one
JSON object to standard output: `ok`, `checks`, `python`, `ipython` and `log`, the last lines that the kernel printed.
The exit code is 0 whenever that report was written, whatever it says. Source of the connection file's form:
https://jupyter-client.readthedocs.io/en/stable/kernels.html#connection-files
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOG_LINES = 20
_POLL_MS = 50
_GRACE = 1.5  # seconds between a shutdown request and SIGTERM
_PRESS_AGAIN = 2.0  # seconds after which the stop button is pressed once more
_LATE_REPLY = 5.0  # seconds that a reply, which goes before the notice of idleness, may come after it
_CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
_MOST_DELAY = 600.0  # seconds that a trial takes longer, at most, where others have the processors
# A Unix socket's path holds 107 bytes, and $TMPDIR can be long.
_SHORT_TMP = "/tmp" if os.access("/tmp", os.W_OK) else None  # noqa: S108  (a private directory is made in it)


class CheckError(Exception):
    """The kernel answered, but not as Colab's front end needs it."""


class UnresponsiveError(CheckError):
    """The kernel ended or keeps silent, so no later check can succeed."""


@dataclass(frozen=True)
class Request:
    """Say which kernel to try, and how: the object read from standard input.

    `argv` contains `{connection_file}`; `env` is the kernel's whole environment; `timeout` is in seconds for each
    check, without those in which others had the processors. `structured` asks for all that Colab's own kernel
    adds: types in completions, inspection as JSON. `cell` is the code of the check "features", whose last line the report
    has.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: str
    checks: list[str]
    timeout: float = 20.0
    structured: bool = False
    cell: str = ""


@dataclass(frozen=True)
class Answer:
    """A reply's content, with every message broadcast until the kernel was idle again."""

    reply: dict[str, Any]
    heard: list[dict[str, Any]]

    @property
    def printed(self) -> str:
        return "".join(message["content"]["text"] for message in self.heard if message["msg_type"] == "stream")

    @property
    def values(self) -> list[str]:
        results = (message["content"] for message in self.heard if message["msg_type"] == "execute_result")
        return [result["data"].get("text/plain", "") for result in results]


def _run_delay(process: int) -> float:
    """Return for how many seconds a process has been ready to run while others had the processors; 0 where nobody counts."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _ignore(_message: dict[str, Any]) -> None:
    pass


def _wait() -> None:
    pass


@dataclass
class Kernel:
    """Hold one kernel process and the page's sockets to it."""

    request: Request
    directory: Path  # a private one, with a short path
    process: Any = None  # the `subprocess.Popen` from the start on
    context: Any = None  # ZeroMQ's, from then on too
    session: Any = None
    deadline: float = 0.0  # by `clock`
    delay: float = 0.0
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def clock(self) -> float:
        """Seconds that go by while kernel and page can run: beside sixty other programs they are slow, and not broken."""
        processes = [os.getpid(), *([self.process.pid] if self.process is not None else [])]
        self.delay = max(self.delay, min(sum(map(_run_delay, processes)), _MOST_DELAY))
        return time.monotonic() - self.delay

    def start(self) -> None:
        """Start the process and connect; the sockets wait until the kernel has bound its own."""
        file = self.directory / "k.json"
        ports = {f"{channel}_port": number for number, channel in enumerate(_CHANNELS, start=1)}
        # Unsigned, as on Colab's server.
        reached = {"transport": "ipc", "ip": str(self.directory / "k"), "key": "", "signature_scheme": "hmac-sha256"}
        file.write_text(json.dumps({**reached, **ports}))
        argv = [word.replace("{connection_file}", str(file)) for word in self.request.argv]
        # As a server does. What talks to the kernel takes a good part of the time to import that the kernel takes to come up.
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                argv,
                env=self._environ(),
                cwd=self.request.cwd,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._connect(reached["ip"], ports)

    def _connect(self, ip: str, ports: dict[str, int]) -> None:
        import zmq
        from jupyter_client.session import Session

        self.session, self.context, self.poller = Session(key=b""), zmq.Context(), zmq.Poller()
        # The default of 100 ms would be most of the time that a healthy kernel's start is waited for.
        self.context.setsockopt(zmq.RECONNECT_IVL, 10)

        def connected(channel: str, kind: int) -> Any:
            socket = self.context.socket(kind)
            if kind == zmq.SUB:
                socket.setsockopt(zmq.SUBSCRIBE, b"")
            else:
                # The page's sockets are one client: an answer to a question goes to who asked for the cell.
                socket.setsockopt(zmq.IDENTITY, self.session.bsession)
            socket.connect(f"ipc://{ip}-{ports[channel + '_port']}")
            return socket

        self.iopub, self.shell = connected("iopub", zmq.SUB), connected("shell", zmq.DEALER)
        self.stdin, self.control = connected("stdin", zmq.DEALER), connected("control", zmq.DEALER)
        self.poller.register(self.iopub, zmq.POLLIN)
        self.poller.register(self.shell, zmq.POLLIN)

    def _environ(self) -> dict[str, str]:
        # IPython makes its directory at its first start; one that a trial made would stay behind.
        env = {**self.request.env, "JPY_PARENT_PID": str(os.getpid())}
        if Path(env.get("IPYTHONDIR") or Path(env.get("HOME", "~"), ".ipython")).expanduser().exists():
            return env
        return {**env, "IPYTHONDIR": str(self.log.with_name("ipython"))}

    def ask(
        self,
        msg_type: str,
        content: dict[str, Any],
        *,
        metadata: dict[str, Any] | None = None,
        react: Callable[[dict[str, Any]], None] = _ignore,
        meanwhile: Callable[[], None] = _wait,
        patience: float = float("inf"),
    ) -> Answer:
        """Send a request and wait for its reply and for idleness.

        `react` is called on each message in between, `meanwhile` about every twentieth of a second. The reply is empty where
        the kernel is idle again and sends none.
        """
        sent = self.session.send(self.shell, msg_type, content, metadata=metadata)
        until = min(self.deadline, self.clock + patience)
        reply, idle, heard = None, False, []
        while reply is None or not idle:
            try:
                message = self._receive(until, meanwhile)
            except UnresponsiveError:
                if idle and self.process.poll() is None:
                    break
                raise
            heard.append(message)
            react(message)
            if message["parent_header"].get("msg_id") == sent["msg_id"]:
                if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                    idle, until = True, min(until, self.clock + _LATE_REPLY)
                reply = message["content"] if message["msg_type"].endswith("_reply") else reply
        # google.colab's kernel answers with a bare string when completion or inspection failed inside it.
        return Answer(reply if isinstance(reply, dict) else {}, heard)

    def execute(
        self,
        code: str,
        react: Callable[[dict[str, Any]], None] = _ignore,
        *,
        meanwhile: Callable[[], None] = _wait,
    ) -> Answer:
        """Run a cell; again, while the kernel still aborts what waited behind the cell before, which failed."""
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": True, "stop_on_error": True}
        while True:
            answer = self.ask("execute_request", content, react=react, meanwhile=meanwhile)
            if answer.reply.get("status") != "aborted":
                return answer

    def _receive(self, until: float, meanwhile: Callable[[], None]) -> dict[str, Any]:
        while self.clock < until:
            meanwhile()
            for socket, _ in self.poller.poll(_POLL_MS):
                _, message = self.session.recv(socket)
                return dict(message)
            self._require_alive()
        msg = f"no answer within {self.request.timeout:g} s"
        raise UnresponsiveError(msg)

    def _require_alive(self) -> None:
        code = self.process.poll()
        if code is not None:
            msg = f"the kernel ended with code {code}"
            raise UnresponsiveError(msg)

    def ends_within(self, seconds: float) -> bool:
        """Wait for the process to end; at most so long."""
        with contextlib.suppress(OSError, AttributeError):  # Linux before 5.3, Python before 3.9
            # Popen.wait looks every twentieth of a second, this one wakes up.
            descriptor = os.pidfd_open(self.process.pid)
            try:
                select.select([descriptor], [], [], seconds)
            finally:
                os.close(descriptor)
            seconds = 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is not None

    def kill(self) -> None:
        """End the kernel with everything it started, by force."""
        if self.process is not None:
            # The kernel leads a session of its own. Its group lives on while one of its children does.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process.stdin.close()
        if self.context is not None:
            self.context.destroy(linger=0)

    def last_lines(self) -> list[str]:
        if not self.log.exists():
            return []
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]


@contextlib.contextmanager
def _kernel_for(request: Request) -> Iterator[Kernel]:
    with tempfile.TemporaryDirectory(prefix="try-", dir=_SHORT_TMP) as name:
        kernel = Kernel(request, Path(name))
        try:
            yield kernel
        finally:
            kernel.kill()


def _require(condition: object, problem: str) -> None:
    if not condition:
        raise CheckError(problem)


def _check_kernel_info(kernel: Kernel) -> str:
    try:
        kernel.start()
    except OSError as error:
        raise UnresponsiveError(str(error)) from error
    while not kernel.info:
        kernel.info = _ask_info(kernel)
    return str(kernel.info.get("banner", "")).partition("\n")[0]


def _ask_info(kernel: Kernel) -> dict[str, Any]:
    # The subscription can come up after the first answer: ask again, as Jupyter's own client does.
    try:
        return kernel.ask("kernel_info_request", {}, patience=1.0).reply
    except UnresponsiveError:
        if kernel.process.poll() is None and kernel.clock < kernel.deadline:
            return {}
        raise


def _check_execute(kernel: Kernel) -> str:
    # In two parts, so that a source that is only repeated is not taken for its output.
    answer = kernel.execute("print('pre' 'flight')\n6 * 7")
    _require("preflight" in answer.printed, f"print() showed {answer.printed!r}: {_error(answer)}")
    _require(answer.values == ["42"], f"6 * 7 gave {answer.values}: {_error(answer)}")
    return "6 * 7 = 42"


def _check_complete(kernel: Kernel) -> str:
    metadata = {"colab_options": {"include_colab_metadata": True}} if kernel.request.structured else {}
    # Where jedi completes, it would first read its whole grammar of builtins for a name; a module costs it nothing.
    code, offered = ("get_ip", "get_ipython") if kernel.request.structured else ("import jso", "json")
    content = {"code": code, "cursor_pos": len(code)}
    reply = kernel.ask("complete_request", content, metadata=metadata).reply
    _require(offered in reply.get("matches", []), f"no completion for {code!r}: {reply}")
    if kernel.request.structured:
        types = reply.get("metadata", {}).get("colab_types_experimental")
        _require(types and types[0].get("type_name"), f"completion without types: {reply}")
    return str(reply["matches"][0])


def _check_inspect(kernel: Kernel) -> str:
    code = "get_ipython"
    content = {"code": code, "cursor_pos": len(code), "detail_level": 0}
    reply = kernel.ask("inspect_request", content).reply
    _require(reply.get("found"), f"{code} was not found: {reply}")
    if kernel.request.structured:
        # google.colab swallows what goes wrong while it looks for parameters: demand them.
        structure = reply.get("data", {}).get("application/json", {})
        _require(structure.get("argspec"), f"inspection without structure: {reply}")
    return ", ".join(reply.get("data", {}))


def _check_shell(kernel: Kernel) -> str:
    answer = kernel.execute("!echo pre''flight")
    _require("preflight" in answer.printed, f"!echo showed {answer.printed!r}: {_error(answer)}")
    return "!echo works"


def _check_interrupt(kernel: Kernel) -> str:
    pressed: list[float] = []

    def press_stop() -> None:
        pressed.append(time.monotonic())
        os.killpg(kernel.process.pid, signal.SIGINT)

    def press_when_asleep(message: dict[str, Any]) -> None:
        if "asleep" in message["content"].get("text", ""):
            press_stop()

    def press_again() -> None:
        # Python drops the exception of a signal that arrives inside a destructor or a callback.
        if pressed and time.monotonic() - pressed[-1] > _PRESS_AGAIN:
            press_stop()

    sleeping = "import time\nprint('asleep', flush=True)\ntime.sleep(3600)"
    answer = kernel.execute(sleeping, press_when_asleep, meanwhile=press_again)
    if pressed and not answer.reply:
        # On a busy machine, a press may come while the kernel writes its reply to the one before, and take it away.
        pressed.clear()
        answer = kernel.execute(sleeping, press_when_asleep, meanwhile=press_again)
    _require(answer.reply.get("ename") == "KeyboardInterrupt", f"the stop button gave {answer.reply}")
    awake = kernel.execute("'awake'")
    _require(awake.values == ["'awake'"], f"no value after an interrupt: {_error(awake)}")
    return "KeyboardInterrupt"


def _check_colab(kernel: Kernel) -> str:
    def reply_as_page(message: dict[str, Any]) -> None:
        if message["metadata"].get("colab_request_type") == "colab_env_preflight":
            value = {"type": "colab_reply", "colab_msg_id": message["metadata"]["colab_msg_id"], "data": "heard"}
            kernel.session.send(kernel.stdin, "input_reply", {"value": value})

    # Longer than the check, which ends by a clock of its own.
    ask_page = f"blocking_request('colab_env_preflight', timeout_sec={kernel.request.timeout + _MOST_DELAY})"
    answer = kernel.execute(f"from google.colab import _message\nprint(_message.{ask_page})", reply_as_page)
    _require("heard" in answer.printed, f"the page's answer came as {answer.printed!r}: {_error(answer)}")
    return "the page's answer arrived"


def _check_features(kernel: Kernel) -> str:
    answer = kernel.execute(kernel.request.cell)
    # The kernel's own streams only: what a project's packages warn of goes to the other one.
    texts = [message["content"] for message in answer.heard if message["msg_type"] == "stream"]
    printed = "".join(text["text"] for text in texts if text["name"] == "stdout").splitlines()
    _require(answer.reply.get("status") == "ok" and printed, _error(answer))
    return printed[-1]


def _check_shutdown(kernel: Kernel) -> str:
    kernel.session.send(kernel.control, "shutdown_request", {"restart": False})
    if kernel.ends_within(_GRACE):
        return f"ended with code {kernel.process.wait()}"
    # Now and then ipykernel waits 10 s for its own output thread. Jupyter's server does not wait either, it terminates.
    kernel.process.terminate()
    while kernel.clock < kernel.deadline:
        if kernel.ends_within(_POLL_MS / 1000):
            return f"needed SIGTERM, ended with code {kernel.process.wait()}"
    msg = f"still running {kernel.request.timeout:g} s after the request"
    raise UnresponsiveError(msg)


def _error(answer: Answer) -> str:
    return f"{answer.reply.get('ename', 'no error')} {answer.reply.get('evalue', '')}".rstrip()


_CHECKS: dict[str, Callable[[Kernel], str]] = {
    "kernel_info": _check_kernel_info,
    "execute": _check_execute,
    "complete": _check_complete,
    "inspect": _check_inspect,
    "shell": _check_shell,
    "interrupt": _check_interrupt,
    "colab": _check_colab,
    "features": _check_features,
    "shutdown": _check_shutdown,
}


def _outcome(kernel: Kernel, name: str) -> tuple[dict[str, Any], bool]:
    """Run one check; the second value says whether later ones make sense."""
    begun = time.monotonic()
    kernel.deadline = kernel.clock + kernel.request.timeout
    ok, useful = False, True
    try:
        detail, ok = _CHECKS[name](kernel), True
    except CheckError as error:
        detail, useful = str(error), not isinstance(error, UnresponsiveError)
    return {"name": name, "ok": ok, "seconds": round(time.monotonic() - begun, 3), "detail": detail}, useful


def _outcomes(kernel: Kernel) -> Iterator[dict[str, Any]]:
    useful = True
    # The start belongs to kernel_info, so that comes first, asked for or not.
    for name in dict.fromkeys(["kernel_info", *kernel.request.checks]):
        if useful:
            outcome, useful = _outcome(kernel, name)
            yield outcome
        else:
            yield {"name": name, "ok": False, "seconds": 0.0, "detail": "not tried"}


def preflight(request: Request) -> dict[str, Any]:
    """Return the report on one kernel, leaving neither processes nor files behind."""
    with _kernel_for(request) as kernel:
        checks = list(_outcomes(kernel))
        return {
            "ok": all(check["ok"] for check in checks),
            "checks": checks,
            "python": kernel.info.get("language_info", {}).get("version"),
            "ipython": kernel.info.get("implementation_version"),
            "log": kernel.last_lines(),
        }


def _leave(signum: int, _frame: object) -> None:
    raise SystemExit(128 + signum)  # what was entered is left: the kernel on trial ends too


def main() -> None:
    """Read a request, write its report."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _leave)
    report = preflight(Request(**json.load(sys.stdin)))
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
