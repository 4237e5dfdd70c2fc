"""An open notebook as the features see it, in whichever kernel its cells run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from colab_standin import Cell, Page, PageError

PATIENCE = 40.0  # seconds for one cell
_INVOKE = "__import__('google.colab.output._js', fromlist=['_'])._invoke_function({name!r}, {arguments!r}, '{{}}')"


def shown(cell: Cell) -> str:
    """Return all that a cell showed, as one text: what it printed, each value by its MIME type, and its error."""
    bundles = [cell.result, *cell.displays, *cell.updates]
    values = [f"{kind}: {value}" for bundle in bundles for kind, value in bundle.items()]
    error = [f"{cell.error['ename']}: {cell.error['evalue']}"] if cell.error else []
    return "\n".join([cell.stdout, cell.stderr, *values, *error])


def sent(cell: Cell, kind: str) -> list[dict[str, Any]]:
    """Return the messages of one type that a cell sent to the page."""
    return [message for message in cell.messages if message["header"]["msg_type"] == kind]


@dataclass(frozen=True, kw_only=True)
class Notebook:
    """A page whose cells begin with `prefix`, such as `%%colab_env py312` and a line's end; most have none."""

    page: Page
    prefix: str = ""

    def run(self, *cells: str, answers: Mapping[str, Any] | None = None, inputs: Sequence[str] = ()) -> Cell:
        """Run cells one after the other, with these answers of the page's, and return the last one."""
        self.page.answers = dict(answers or {})
        *before, last = cells
        for code in before:
            self.page.execute(self.prefix + code, timeout=PATIENCE)
        return self.page.execute(self.prefix + last, inputs=inputs, timeout=PATIENCE)

    def stop(self, code: str) -> Cell:
        """Start a cell, press the stop button when it prints, and return the cell."""
        message = self.page.submit_until_output(self.prefix + code, timeout=PATIENCE)
        return self.page.stop(message, timeout=PATIENCE)

    def type(self, code: str, text: str, *, after: str) -> Cell:
        """Start a cell, and type `text` into the line below its output when the page has been asked `after`."""
        self.page.answers = {}
        message = self.page.submit(self.prefix + code)
        self.hear(
            "colab_request",
            lambda each: (each["metadata"]["colab_request_type"], each["parent_header"]["msg_id"]) == (after, message),
        )
        self.page._send("stdin", "input_reply", {"value": text})
        return self.page.finish(message, timeout=PATIENCE)

    def complete(self, code: str) -> dict[str, Any]:
        """Return the completions at the end of the code."""
        return self.page.complete(self.prefix + code)

    def inspect(self, code: str) -> dict[str, Any]:
        """Return what the page's tooltip shows of the name at the end of the code."""
        data = self.page.inspect(self.prefix + code).get("data", {})
        found: dict[str, Any] = data.get("application/json", {})
        return found

    def invoke(self, name: str, arguments: str = "[]") -> Cell:
        """Call a function that a cell registered for the page, as the page does."""
        self.page.answers = {}
        return self.page.execute(_INVOKE.format(name=name, arguments=arguments), timeout=PATIENCE)

    def tell(self, comm_id: str, data: Mapping[str, Any], *, kind: str = "comm_msg", target: str = "") -> str:
        """Send a message on a widget's channel, or open one; return its id."""
        content = {"comm_id": comm_id, "data": data, **({"target_name": target} if target else {})}
        return self.page._send("shell", kind, content)

    def hear(
        self, kind: str, fits: Callable[[dict[str, Any]], object] = bool, *, seconds: float = 10
    ) -> dict[str, Any]:
        """Wait for a message of one type for which `fits` is true."""
        end = time.monotonic() + seconds
        while True:
            message = self.page._receive(end)
            if message["header"]["msg_type"] == kind and fits(message):
                return message

    def has(self, module: str) -> bool:
        """Say whether a module can be found in the kernel."""
        cell = self.run(f"import importlib.util\nprint('found', importlib.util.find_spec({module!r}) is not None)")
        return "found True" in cell.stdout

    def recover(self) -> None:
        """Have a kernel that answers again after a cell that did not end."""
        try:
            self.page.interrupt()
            self.page.connect(timeout=PATIENCE)
            self.page.execute("0", timeout=PATIENCE)
        except PageError:
            self.page.restart()
