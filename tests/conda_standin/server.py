"""A local web server with Range support that can misbehave."""

from __future__ import annotations

import http.server
import threading
import time
from pathlib import Path
from typing import Any


class _Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that hang up."""


class Server:
    """Serves a directory. `faults` are used up one by one, a request each: a status code, "cut", "wrong",
    "slow" or None.

    `always` has faults that stay, by the end of the path. `requests` lists path and Range header of each request.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.faults: list[int | str | None] = []
        self.always: dict[str, int | str] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.ranges = True
        self.listing = False
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                try:
                    server._answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        self._http = _Quiet(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=lambda: self._http.serve_forever(poll_interval=0.02), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Server:  # noqa: PYI034
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.requests.append((request.path, asked))
        fault = self.faults.pop(0) if self.faults else None
        fault = next((fault for end, fault in self.always.items() if request.path.endswith(end)), fault)
        path = self.directory / request.path.lstrip("/")
        if self.listing and path.is_dir():
            names = (f'<li><a href="{each.name}">{each.name}</a></li>' for each in sorted(path.iterdir()))
            _send(request, 200, "".join(names).encode())
            return
        status = fault if isinstance(fault, int) else None if path.is_file() else 404
        if status is not None:
            _send(request, status, b"no\n")
            return
        content = path.read_bytes()
        first, _, last = asked.removeprefix("bytes=").partition("-") if asked and self.ranges else ("0", "", "")
        start, end = int(first), int(last) + 1 if last else len(content)
        if start >= len(content) and asked:
            _send(request, 416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        body = bytes(len(content) - start) if fault == "wrong" else content[start:end]
        headers = {"Content-Range": f"bytes {start}-{start + len(body) - 1}/{len(content)}"} if start else {}
        _send(request, 206 if start else 200, body, headers, fault=fault)


def _send(
    request: http.server.BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    headers: dict[str, str] | None = None,
    *,
    fault: object = None,
) -> None:
    request.send_response(status)
    for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
        request.send_header(name, value)
    request.end_headers()
    if fault == "cut":
        request.wfile.write(body[: len(body) // 2])
        request.close_connection = True
    elif fault == "slow":
        for start in range(0, len(body), len(body) // 20 + 1):
            request.wfile.write(body[start : start + len(body) // 20 + 1])
            request.wfile.flush()
            time.sleep(0.3)
    else:
        request.wfile.write(body)
