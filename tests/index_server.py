"""A package index on this machine that answers as real ones do: in full, in part, slowly, with a page to sign in.

It is reached at an address of its own, as a company's index is, or through a proxy in the place of the index that pip
uses by default, as proxies and mirrors of a network are: with a certificate of an authority made for the test.
"""

from __future__ import annotations

import base64
import email
import functools
import hashlib
import html
import json
import ssl
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trustme
from packaging.utils import canonicalize_name
from pip._internal.models.index import PyPI

DEFAULT = PyPI.simple_url.rstrip("/").removesuffix("/simple")  # what pip and Poetry use without settings
_JSON = "application/vnd.pypi.simple.v1+json"
TOP = ""  # of each simple page
_SIGN_IN = b"<!DOCTYPE html><title>Sign in</title><form action=/login><input name=user></form>"


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What an index answers, and how: `refusal` is the status of everything that it does not have."""

    simple_json: bool = True  # PEP 691 beside PEP 503's pages
    project_json: bool = True  # /pypi/NAME/json
    version_json: bool = True  # /pypi/NAME/VERSION/json
    without: str = ""  # a package of which it has no JSON
    refusal: int = 404
    metadata: bool = True  # PEP 658
    hashes: bool = True
    relative: bool = False  # the addresses of files, in JSON
    delay: float = 0.0  # seconds before each answer


_BARE = {"project_json": False, "version_json": False}
BEHAVIOURS = {
    "everything": Behaviour(),
    "HTML only": Behaviour(simple_json=False, **_BARE),
    "simple pages as JSON": Behaviour(**_BARE),
    "no /pypi/NAME/json": Behaviour(project_json=False),
    "no /pypi/NAME/VERSION/json": Behaviour(version_json=False),
    "403 for 404": Behaviour(refusal=403, **_BARE),
    "a page to sign in for 404": Behaviour(refusal=200, **_BARE),
    "a redirect to one": Behaviour(refusal=302, **_BARE),
    "no metadata files": Behaviour(metadata=False, simple_json=False, **_BARE),
    "slow": Behaviour(delay=0.7, **_BARE),
    "no hashes": Behaviour(hashes=False, **_BARE),
}


class IndexServer:
    """Serves the wheels of a directory inside a `with` block, at `url` or, with `environ`, in the default index's place.

    `asked` are the paths that were asked for, `strangers` the other machines that a client wanted to reach. `behaviour` may be
    changed at any time: an index does that, too.
    """

    def __init__(self, wheels: Path, *, user: str = "", password: str = "", behaviour: Behaviour | None = None) -> None:
        self.wheels = wheels
        self.behaviour = behaviour or Behaviour(**_BARE, simple_json=False)
        self.expected = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}" if user else None
        self.asked: list[str] = []
        self.strangers: list[str] = []
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, self))
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self.address}/simple"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def environ(self) -> Iterator[dict[str, str]]:
        """Give the variables of a network whose only way out is this server, which stands in for the default index."""
        authority = trustme.CA()
        authority.issue_cert(str(urlsplit(DEFAULT).hostname)).configure_cert(self.tls)
        with tempfile.TemporaryDirectory() as directory:
            certificates = Path(directory) / "ca.pem"
            authority.cert_pem.write_to_path(certificates)
            trusting = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
            proxies = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
            nowhere = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
            yield {**dict.fromkeys(trusting, str(certificates)), **dict.fromkeys(proxies, self.address), **nowhere}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, index: IndexServer, *arguments: Any) -> None:
        self.index = index
        super().__init__(*arguments)

    def do_CONNECT(self) -> None:
        host, _, port = self.path.partition(":")
        if host != urlsplit(DEFAULT).hostname or port != "443":
            self.index.strangers.append(self.path)
            self.answer(403, b"")
            return
        self.send_response(200)
        self.end_headers()
        try:
            self.connection = self.index.tls.wrap_socket(self.connection, server_side=True)
        except OSError:  # the client does not trust this certificate, and says so itself
            self.close_connection = True
            return
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    @property
    def base(self) -> str:
        if self.index.behaviour.relative:
            return ""
        return DEFAULT if isinstance(self.connection, ssl.SSLSocket) else self.index.address

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        behaviour, path = self.index.behaviour, urlsplit(self.path).path
        self.index.asked.append(path)
        time.sleep(behaviour.delay)
        if self.index.expected and self.headers.get("Authorization") != self.index.expected:
            self.answer(401, b"", WWW_Authenticate='Basic realm="private"')
            return
        match path.strip("/").split("/"):
            case ["files", name] if (self.index.wheels / name).is_file():
                self.answer(200, (self.index.wheels / name).read_bytes())
            case ["files", name] if behaviour.metadata and (wheel := self.index.wheels / name[:-9]).is_file():
                self.answer(200, _metadata(wheel))
            case ["stable.html"]:
                links = "".join(self.link(path) for path in sorted(self.index.wheels.iterdir()))
                self.answer(200, f"<html><body>{links}</body></html>".encode(), Content_Type="text/html")
            case ["simple", name] if found := self.of(name):
                self.simple(name, found)
            case ["pypi", name, "json"] if behaviour.project_json and name != behaviour.without and self.of(name):
                found = self.of(name)
                self.json({"info": self.info(found[-1]), "urls": [self.file(found[-1])], "releases": {}})
            case ["pypi", name, version, "json"] if behaviour.version_json and name != behaviour.without:
                found = [each for each in self.of(name) if each.name.split("-")[1] == version]
                self.json({"info": self.info(found[0]), "urls": [self.file(found[0])]}) if found else self.refuse()
            case _:
                self.refuse()

    def of(self, name: str) -> list[Path]:
        return sorted(
            each for each in self.index.wheels.iterdir() if canonicalize_name(each.name.split("-")[0]) == name
        )

    def simple(self, name: str, found: list[Path]) -> None:
        accepts = self.headers.get("Accept", "")
        if self.index.behaviour.simple_json and "json" in accepts:
            versions = sorted({path.name.split("-")[1] for path in found})
            document = {"meta": {"api-version": "1.1"}, "name": name, "versions": versions}
            files = [self.simple_file(path) for path in found]
            self.answer(200, json.dumps({**document, "files": files}).encode(), Content_Type=_JSON)
            return
        links = "".join(self.link(path) for path in found)
        self.answer(200, f"<!DOCTYPE html><html><body>{TOP}{links}</body></html>".encode(), Content_Type="text/html")

    def simple_file(self, path: Path) -> dict[str, Any]:
        wheel = _wheel(path)
        hashes = {"sha256": wheel.sha256} if self.index.behaviour.hashes else {}
        metadata = {"core-metadata": {"sha256": wheel.metadata_sha256}} if self.index.behaviour.metadata else {}
        return {
            "filename": path.name,
            "url": f"{self.base}/files/{path.name}",
            "hashes": hashes,
            "yanked": False,
            **metadata,
            **({"requires-python": wheel.requires_python} if wheel.requires_python else {}),
            "size": path.stat().st_size,
            "upload-time": "2024-01-01T00:00:00.000000Z",
        }

    def link(self, path: Path) -> str:
        wheel = _wheel(path)
        fragment = f"#sha256={wheel.sha256}" if self.index.behaviour.hashes else ""
        requires = f' data-requires-python="{html.escape(wheel.requires_python)}"' if wheel.requires_python else ""
        metadata = f' data-core-metadata="sha256={wheel.metadata_sha256}"' if self.index.behaviour.metadata else ""
        return f'<a href="/files/{path.name}{fragment}"{requires}{metadata}>{path.name}</a><br>\n'

    def info(self, path: Path) -> dict[str, Any]:
        wheel = _wheel(path)
        return {
            "name": wheel.name,
            "version": path.name.split("-")[1],
            "summary": "",
            "yanked": False,
            "requires_dist": list(wheel.requires) or None,
            "requires_python": wheel.requires_python or None,
        }

    def file(self, path: Path) -> dict[str, Any]:
        return {
            "filename": path.name,
            "packagetype": "bdist_wheel",
            "yanked": False,
            "size": path.stat().st_size,
            "digests": {"sha256": _wheel(path).sha256},
            "url": f"{self.base}/files/{path.name}",
            "upload_time_iso_8601": "2024-01-01T00:00:00.000000Z",
        }

    def refuse(self) -> None:
        status = self.index.behaviour.refusal
        if status == 302 and self.path != "/login":
            self.answer(302, b"", Location="/login")
        elif status in (200, 302):
            self.answer(200, _SIGN_IN, Content_Type="text/html")
        else:
            self.answer(status, b"")

    def json(self, document: Any) -> None:
        self.answer(200, json.dumps(document).encode(), Content_Type="application/json")

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@dataclass(frozen=True)
class _Wheel:
    name: str
    requires: tuple[str, ...]
    requires_python: str
    sha256: str
    metadata_sha256: str


@functools.cache
def _wheel(path: Path) -> _Wheel:
    text = _metadata(path)
    fields = email.message_from_bytes(text)
    return _Wheel(
        name=str(fields["Name"]),
        requires=tuple(fields.get_all("Requires-Dist", [])),
        requires_python=fields.get("Requires-Python", ""),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        metadata_sha256=hashlib.sha256(text).hexdigest(),
    )


@functools.cache
def _metadata(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        name = next(each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return archive.read(name)
