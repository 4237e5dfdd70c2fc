"""A registry of images on this machine, and a base image of a few files: fakes, of the protocol and of what bases have.

The registry answers as real ones do, with tokens, or in one of the ways in which they fail. The base has no program that
runs: an ELF header, a libc that names its version, the directories of a Python. What a real base is, tests of the marker
`machine` show.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import gzip
import hashlib
import io
import json
import re
import tarfile
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MACHINES = {"amd64": (0x3E, "x86_64"), "arm64": (0xB7, "aarch64")}


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def layer(files: Mapping[str, bytes | str | None]) -> bytes:
    """A tar file: bytes are a file, a text is what a symbolic link says, None is a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            else:
                member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def base_files(architecture: str = "amd64", minor: str = "3.12", glibc: str = "2.36") -> dict[str, bytes | str | None]:
    """The files of a Debian base with CPython in /usr/local, as the official image has them."""
    machine, triplet = MACHINES[architecture]
    elf = b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little") + bytes(64)
    info = f"usr/local/lib/python{minor}/site-packages/pip-24.0.dist-info"
    return {
        "usr/local/lib": None,
        f"usr/local/lib/python{minor}/site-packages": None,
        f"usr/local/lib/python{minor}/site.py": b"# site-packages",
        f"usr/local/include/python{minor}/patchlevel.h": f'#define PY_VERSION "{minor}.7"'.encode(),
        f"usr/local/bin/python{minor}": elf,
        "usr/local/bin/python3": f"python{minor}",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: pip\nVersion: 24.0\n\ntext",
        f"{info}/RECORD": b"pip/__init__.py,,\npip-24.0.dist-info/METADATA,,\n",
        f"usr/local/lib/python{minor}/site-packages/pip/__init__.py": b"",
        "lib": "usr/lib",
        f"usr/lib/{triplet}-linux-gnu/libc.so.6": f"\x7fELF GNU C Library (Debian) stable release version {glibc}.".encode(),
        "var/lib/dpkg/status": b"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n\n"
        b"Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
        "etc/os-release": b'ID=debian\nVERSION_ID="12"\n',
    }


class Image:
    """An image of some layers: its blobs by digest, and its manifest."""

    def __init__(
        self,
        *layers: Mapping[str, bytes | str | None],
        architecture: str = "amd64",
        changed: Mapping[str, Any] | None = None,
    ) -> None:
        """`changed` is what the configuration has in place of what is right."""
        tars = [layer(files) for files in layers or (base_files(architecture),)]
        packed = [gzip.compress(tar, mtime=0) for tar in tars]
        config = {
            "os": "linux",
            "architecture": architecture,
            "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"], "Cmd": ["python3"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in tars]},
            **(changed or {}),
        }
        self.architecture, self.tars = architecture, tars
        self.config = json.dumps(config).encode()
        typed = [("application/vnd.oci.image.layer.v1.tar+gzip", content) for content in packed]
        values = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor("application/vnd.oci.image.config.v1+json", self.config),
            "layers": [_descriptor(kind, content) for kind, content in typed],
        }
        self.manifest = json.dumps(values).encode()
        self.blobs = {digest(content): content for content in (self.config, *packed)}
        self.layers = [digest(content) for content in packed]

    def entry(self) -> dict[str, Any]:
        platform = {"os": "linux", "architecture": self.architecture}
        return {**_descriptor(MANIFEST, self.manifest), "platform": platform}

    def write_layout(self, directory: Path, *others: Image) -> Path:
        """Write it, and others for other platforms, as an OCI layout."""
        blobs = directory / "blobs/sha256"
        blobs.mkdir(parents=True)
        for image in (self, *others):
            for name, content in {**image.blobs, digest(image.manifest): image.manifest}.items():
                (blobs / name.removeprefix("sha256:")).write_bytes(content)
        index = {"schemaVersion": 2, "manifests": [image.entry() for image in (self, *others)]}
        (directory / "index.json").write_text(json.dumps(index))
        (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return directory

    def write_archive(self, path: Path) -> Path:
        """Write it as `docker save` does, the layers without compression."""
        files = {f"{number}/layer.tar": tar for number, tar in enumerate(self.tars)}
        listed = [{"Config": "config.json", "RepoTags": ["base:latest"], "Layers": list(files)}]
        every = {**files, "config.json": self.config, "manifest.json": json.dumps(listed).encode()}
        path.write_bytes(layer(every))
        return path


def _descriptor(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(content), "size": len(content)}


class RegistryServer:
    """Serves images inside a `with` block. `asked` are method and path of every request; `fault` says how it fails."""

    def __init__(self, *, user: str = "", password: str = "", fault: str = "") -> None:
        self.blobs: dict[str, dict[str, bytes]] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.asked: list[str] = []
        self.user, self.password, self.fault = user, password, fault
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, self))
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, repository: str, tag: str, images: Sequence[Image]) -> None:
        """Put images for several platforms under one name."""
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [image.entry() for image in images]})
        self.manifests[repository, tag] = (INDEX, index.encode())
        for image in images:
            self.blobs.setdefault(repository, {}).update(image.blobs)
            self.manifests[repository, digest(image.manifest)] = (MANIFEST, image.manifest)

    @property
    def token(self) -> str:
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, registry: RegistryServer, *arguments: Any) -> None:
        self.registry = registry
        super().__init__(*arguments)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        registry, url = self.registry, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        registry.asked.append(f"{self.command} {url.path}")
        if url.path == "/token":
            is_known = self.headers.get("Authorization") == f"Basic {registry.token}"
            self.answer(
                200, json.dumps({"token": "secret\r\ntoken" if registry.fault == "token" else "secret-token"}).encode()
            ) if is_known else self.answer(401)
        elif registry.user and self.headers.get("Authorization") != "Bearer secret-token":
            realm = "file:///etc/passwd" if registry.fault == "realm" else f"http://{registry.host}/token"
            challenge = f'Bearer realm="{realm}",service="test",scope="x"'
            self.answer(401, **{"WWW-Authenticate": challenge})
        elif registry.fault == "429":
            self.answer(429, **{"Retry-After": "30"})
        elif registry.fault == "login page":
            self.answer(200, b"<!DOCTYPE html><html><title>Sign in</title></html>", **{"Content-Type": "text/html"})
        elif found := re.fullmatch(r"/v2/(.+)/manifests/(.+)", url.path):
            self.manifest(found[1], found[2], body)
        elif found := re.fullmatch(r"/v2/(.+)/blobs/uploads/(.*)", url.path):
            self.upload(found[1], found[2], parse_qs(url.query), body)
        elif found := re.fullmatch(r"/v2/(.+)/blobs/(.+)", url.path):
            self.blob(found[1], found[2])
        else:
            self.answer(404)

    def manifest(self, repository: str, name: str, body: bytes) -> None:
        if self.command == "PUT":
            for key in (name, digest(body)):
                self.registry.manifests[repository, key] = (self.headers["Content-Type"], body)
            self.answer(201)
            return
        kind, content = self.registry.manifests.get((repository, name), ("", b""))
        content = content.replace(b"schemaVersion", b"schemaversion") if self.registry.fault == "manifest" else content
        self.answer(200 if kind else 404, content, **{"Content-Type": kind})

    def blob(self, repository: str, name: str) -> None:
        content = self.registry.blobs.get(repository, {}).get(name)
        if self.registry.fault == "blob login":
            self.answer(401)
            return
        if content is not None and self.registry.fault == "digest":
            content = content[:-1] + bytes([content[-1] ^ 1])
        if content is not None and self.registry.fault == "truncated":
            content = content[: len(content) // 2]
        if content is not None and self.registry.fault == "breaks off":
            self.answer(200, content[: len(content) // 2], length=len(content))
            self.close_connection = True
            return
        if content is not None and self.registry.fault == "endless":
            self.answer(200, content, length=2**40)  # and more, until the other side goes
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(bytes(1 << 16))
        self.answer(404 if content is None else 200, content or b"")

    def upload(self, repository: str, name: str, query: dict[str, list[str]], body: bytes) -> None:
        blobs = self.registry.blobs.setdefault(repository, {})
        if self.command == "PUT":
            blobs[query["digest"][0]] = body
            self.answer(201 if digest(body) == query["digest"][0] else 400)
            return
        mounted = self.registry.blobs.get(query.get("from", [""])[0], {}).get(query.get("mount", [""])[0])
        if mounted is not None:
            blobs[query["mount"][0]] = mounted
            self.answer(201)
            return
        self.answer(202, Location=f"/v2/{repository}/blobs/uploads/1?state=2")

    def answer(self, status: int, content: bytes = b"", length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass
