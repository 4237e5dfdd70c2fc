"""Leave a kernel: let the notebook server replace it once the running cell has ended, or become another one in place.

Runs inside kernels of any Python (3.6 or newer) and imports nothing of colab_env: a copy lies in every kernel layer.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any

DELAY = 0.5  # seconds in which the cell's end reaches the page
FLUSH = 0.3  # seconds in which what was printed reaches the page


def leave(plan: dict[str, Any]) -> None:
    """Do what `colab_env.switch` has planned: show its message, then ask the server or become another kernel."""
    print(plan["message"], flush=True)
    if "request" in plan:
        after_cell(plan["request"])
    elif "argv" in plan:
        become(plan["argv"], plan["environ"])


def after_cell(request: dict[str, Any]) -> None:
    """Send a request to the notebook server when the cell has ended; cells that wait behind it do not run here any more."""
    from IPython import get_ipython

    shell: Any = get_ipython()

    def ended(*_: object) -> None:
        shell.events.unregister("post_run_cell", ended)
        # ipykernel 6 and 7 answer further cells with "aborted" while this is set.
        shell.kernel._aborting = True
        threading.Thread(target=send, args=(request, shell.kernel), daemon=True).start()

    shell.events.register("post_run_cell", ended)


def send(request: dict[str, Any], kernel: Any) -> None:
    """Send it; this kernel ends before the answer comes, unless something is wrong."""
    time.sleep(DELAY)
    try:
        call(**request)
    except Exception as error:
        kernel._aborting = False
        print(f"The notebook server refused ({error}). Restart the session by hand: the switch then takes place.")


def call(method: str, url: str, headers: dict[str, str], body: object = None, timeout: float = 90) -> Any:
    """Call the server's REST interface and return the answer's JSON."""
    data = None if body is None else json.dumps(body).encode()
    headers = dict(headers, **{"Content-Type": "application/json"})
    request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310
    # Never through a proxy: the server is on this machine.
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        error.close()
        raise


def cookie(address: str) -> dict[str, str]:
    """Return the headers with which a server that has no token takes requests: its check against foreign pages."""
    import http.client  # few servers need them
    import http.cookiejar

    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar))
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):  # noqa: SIM117 - Python 3.8 reads this
        with opener.open(address, timeout=5) as answer:
            answer.read(1)
    cookies = {item.name: item.value or "" for item in jar}
    if "_xsrf" not in cookies:
        return {}
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return {"Cookie": header, "X-XSRFToken": cookies["_xsrf"]}


def become(argv: list[str], environ: dict[str, str]) -> None:
    """Turn this process into another kernel on the same connection file; that one answers the running cell."""
    from IPython import get_ipython

    shell: Any = get_ipython()
    kernel = shell.kernel
    parent, identity = current_request(kernel)
    cell = {"parent": parent, "identity": [bytes(part).hex() for part in identity]}
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    time.sleep(FLUSH)
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        # ipykernel reads these two itself, and ends now.
        original = getattr(stream, "_original_stdstream_copy", None)
        if original is not None:
            os.dup2(original, number)
    os.execve(argv[0], argv, dict(environ, COLAB_ENV_CELL=json.dumps(cell, default=str)))


def current_request(kernel: Any) -> tuple[dict[str, Any], list[bytes]]:
    """Return the header of the message that the kernel works on, as its reply's parent, and whose it is."""
    # ipykernel 5 works on one message at a time, and has no channels there.
    parent = kernel.get_parent("shell") if hasattr(kernel, "get_parent") else kernel._parent_header
    identity = kernel._parent_ident
    header = parent.get("header", parent)
    message: Any = identity if isinstance(identity, (bytes, list)) else identity["shell"]
    return {"header": header}, list(message)


def own_connection_file() -> str | None:
    """Return the path of this kernel's connection file, or None outside of kernels."""
    if "ipykernel.kernelapp" not in sys.modules:
        return None
    from ipykernel.kernelapp import IPKernelApp

    return str(IPKernelApp.instance().abs_connection_file) if IPKernelApp.initialized() else None
