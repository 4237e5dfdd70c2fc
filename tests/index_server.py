"""A simple package index (PEP 503) on this machine, which may ask for a password."""

from __future__ import annotations

import base64
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class IndexServer:
    """Serves the wheels of a directory at `url` inside a `with` block."""

    def __init__(self, wheels: Path, *, user: str = "", password: str = "") -> None:
        expected = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}" if user else None

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if expected and self.headers.get("Authorization") != expected:
                    self.answer(401, b"", WWW_Authenticate='Basic realm="private"')
                    return
                name = self.path.strip("/").rpartition("/")[2]
                if (wheels / name).is_file():
                    self.answer(200, (wheels / name).read_bytes())
                    return
                found = sorted(path for path in wheels.iterdir() if path.name.split("-")[0] == name.replace("-", "_"))
                self.answer(200 if found else 404, page(found), Content_Type="text/html")

            def do_HEAD(self) -> None:
                self.do_GET()

            def answer(self, status: int, body: bytes, **headers: str) -> None:
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(key.replace("_", "-"), value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/simple"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def page(wheels: list[Path]) -> bytes:
    lines = (
        f'<a href="/files/{path.name}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}">{path.name}</a>'
        for path in wheels
    )
    return f"<!DOCTYPE html><html><body>{' '.join(lines)}</body></html>".encode()
