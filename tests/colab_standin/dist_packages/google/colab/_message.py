"""Stand-in for tests, written from public behaviour: requests from the kernel to the page."""

import itertools
import time

import zmq

from google.colab import _ipython

_NOTHING = object()
_ids = itertools.count(1)


class MessageError(Exception):
    """The page answered with an error."""


def send_request(request_type, request_body, parent=None, expect_reply=True):  # noqa: FBT002
    """Publish a request to the page and return its id, or None when no reply is wanted."""
    app = _ipython.get_kernelapp()
    metadata = {"colab_request_type": request_type}
    if expect_reply:
        metadata["colab_msg_id"] = next(_ids)
    # Only the session: the request belongs to the page, not to one cell.
    header = {"session": app.kernel.shell.parent_header["header"]["session"]}
    message = app.session.msg(
        "colab_request", {"request": request_body}, parent=parent or {"header": header}, metadata=metadata
    )
    app.session.send(app.iopub_socket, message)
    return metadata.get("colab_msg_id")


def blocking_request(request_type, request="", timeout_sec=5, parent=None):
    """Ask the page and return its answer, or None after `timeout_sec` seconds; None waits for ever."""
    return read_reply_from_input(send_request(request_type, request, parent), timeout_sec)


def read_reply_from_input(message_id, timeout_sec=None):
    """Return the page's answer to one request; drop every other input meanwhile."""
    end = time.monotonic() + timeout_sec if timeout_sec else float("inf")
    while time.monotonic() < end:
        value = _next_input()
        if isinstance(value, dict) and (value.get("type"), value.get("colab_msg_id")) == ("colab_reply", message_id):
            if "error" in value:
                raise MessageError(value["error"])
            return value.get("data")
        if value is _NOTHING:
            time.sleep(0.025)
    return None


def _next_input():
    kernel = _ipython.get_kernel()
    _, message = kernel.session.recv(kernel.stdin_socket, zmq.NOBLOCK)
    return message["content"].get("value", "") if message else _NOTHING
