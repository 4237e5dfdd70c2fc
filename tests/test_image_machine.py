"""Images that were built without an engine, as real tools take them: Debian's registry, skopeo, buildah, a real Debian base.

Each test is skipped with one line where such a tool is missing. The base is a stand-in: see `base_image.py`.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from base_image import Storage
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from registry_server import Image
from test_image import app, built, log_in, served, wheels  # noqa: F401  (fixtures)

from colab_env import errors, uv
from colab_env.machine import Machine

pytestmark = pytest.mark.machine
_BCRYPT = "$2b$04$tOXWy6GOUvPUc4cORdkhsOODJM4ZrR7cp4cO.vTPDa7tYmmFe8KD2"  # of "secret"
# Prints what importlib.metadata and dpkg say, after importing every module that the packages name.
_INSIDE = """
import getpass, importlib, importlib.metadata as metadata, json, os, re, subprocess
names = sorted({top for file in metadata.distributions() for top in (file.read_text("top_level.txt") or "").split()})
names.sort(key=lambda name: name != "setuptools")  # it refuses to come after distutils, which others import
failed = []
for name in names:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed.append(f"{name}: {error}")
dpkg = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\\n"], capture_output=True, text=True)
print("RESULT", json.dumps({
    "uid": os.getuid(), "user": getpass.getuser(), "home": [os.path.expanduser("~"), os.getcwd()],
    "can_write": os.access(".", os.W_OK), "failed": failed, "imported": len(names),
    "python": {re.sub("[-_.]+", "-", each.metadata["Name"]).lower(): each.version for each in metadata.distributions()},
    "debian": dict(line.split()[:2] for line in dpkg.stdout.splitlines() if line.endswith(" installed")),
}))
"""


def require(*programs: str) -> None:
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


# --- a registry


@pytest.fixture(params=["token", "password"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Debian's docker-registry, whose user "me" has the password "secret"; with tokens, or asking for that itself."""
    require("docker-registry", "skopeo")
    with TokenServer() as tokens, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        (tmp_path / "htpasswd").write_text(f"me:{_BCRYPT}\n")
        (tmp_path / "ca.pem").write_bytes(tokens.authority.cert_pem.bytes())
        ways = {
            "password": {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}},
            "token": {
                "token": {
                    "realm": tokens.url,
                    "service": "test",
                    "issuer": "tests",
                    "rootcertbundle": str(tmp_path / "ca.pem"),
                }
            },
        }
        config = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
            "http": {"addr": host},
            "auth": ways[request.param],
        }
        (tmp_path / "config.yml").write_text(json.dumps(config))  # JSON is YAML
        with (tmp_path / "registry.log").open("w") as log:
            child = subprocess.Popen(["docker-registry", "serve", tmp_path / "config.yml"], stdout=log, stderr=log)
            try:
                wait_for(host)
                yield host
            finally:
                child.terminate()
                child.wait()


def wait_for(host: str) -> None:
    name, _, port = host.partition(":")
    for _ in range(600):
        with socket.socket() as client:
            if client.connect_ex((name, int(port))) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"no registry at {host}")


class TokenServer:
    """Gives tokens to the user "me", signed as docker-registry wants them (distribution's token specification)."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self.leaf = self.authority.issue_cert("tokens.test")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Tokens, self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def token(self, scopes: list[str]) -> str:
        certificate = "".join(self.leaf.cert_chain_pems[0].bytes().decode().splitlines()[1:-1])
        names = (re.fullmatch(r"repository:([^:]+):(.+)", scope) for scope in scopes)
        access = [{"type": "repository", "name": n[1], "actions": n[2].split(",")} for n in names if n]
        now = int(time.time())
        claims = {"iss": "tests", "aud": "test", "sub": "me", "nbf": now - 60, "iat": now, "exp": now + 600, "jti": "1"}
        parts = [{"typ": "JWT", "alg": "ES256", "x5c": [certificate]}, {**claims, "access": access}]
        text = ".".join(_unpadded(json.dumps(part).encode()) for part in parts)
        key = serialization.load_pem_private_key(self.leaf.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        numbers = utils.decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_unpadded(b''.join(number.to_bytes(32, 'big') for number in numbers))}"


def _unpadded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class _Tokens(BaseHTTPRequestHandler):
    def __init__(self, server: TokenServer, *arguments: Any) -> None:
        self.tokens = server
        super().__init__(*arguments)

    def do_GET(self) -> None:
        expected = f"Basic {base64.b64encode(b'me:secret').decode()}"
        is_known = self.headers.get("Authorization") == expected
        scopes = [word for one in parse_qs(urlsplit(self.path).query).get("scope", []) for word in one.split()]
        content = json.dumps({"token": self.tokens.token(scopes)}).encode() if is_known else b"{}"
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class Named:
    """What `log_in` needs of a registry."""

    def __init__(self, host: str) -> None:
        self.host = host


def skopeo(*words: str | Path) -> str:
    done = subprocess.run(["skopeo", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_debians_registry_takes_an_image_and_skopeo_copies_it(
    registry: str,
    app: Path,  # noqa: F811
    served: object,  # noqa: F811
    home: Path,
    tmp_path: Path,
):
    layout = Image().write_layout(tmp_path / "base")
    login = ("--dest-creds", "me:secret", "--dest-tls-verify=false")
    skopeo("copy", *login, f"oci:{layout}", f"docker://{registry}/base/python:3")
    log_in(home, Named(registry))
    output = tmp_path / "img.tar"
    first = built(app, f"{registry}/base/python:3", push=f"{registry}/me/app:1", output=output)
    second = built(app, f"{registry}/base/python:3", push=f"{registry}/me/app:1")
    assert second.pushed == first.pushed
    assert (second.sent or 0) < 2_500 < (first.sent or 0)  # the manifest alone
    source = ("--tls-verify=false", "--creds", "me:secret")
    shown = json.loads(skopeo("inspect", *source, f"docker://{registry}/me/app:1"))
    saved = f"docker-archive:{tmp_path / 'base.tar'}"
    skopeo("copy", f"oci:{layout}", f"{saved}:base:3")
    third = built(app, saved, push=f"{registry}/other/app:1")
    assert skopeo("inspect", *source, "--format", "{{.Digest}}", f"docker://{third.pushed.partition('@')[0]}:1").strip()
    assert f"{registry}/me/app@{shown['Digest']}" == first.pushed
    copied = tmp_path / "copy"
    skopeo(
        "copy", "--src-tls-verify=false", "--src-creds", "me:secret", f"docker://{registry}/me/app:1", f"oci:{copied}"
    )
    configs = [json.loads(skopeo("inspect", "--config", name)) for name in (f"oci:{copied}", f"oci-archive:{output}")]
    assert configs[0] == configs[1] == json.loads(skopeo("inspect", "--config", f"docker-archive:{output}"))


def test_debians_registry_refuses_a_wrong_password(
    registry: str,
    app: Path,  # noqa: F811
    served: object,  # noqa: F811
    home: Path,
    tmp_path: Path,
):
    layout = Image().write_layout(tmp_path / "base")
    for password, reason in (("", "wants a login to write to me/app"), ("wrong", "does not let the login 'me'")):
        if password:
            log_in(home, Named(registry), password)
        with pytest.raises(errors.RegistryLoginError, match=reason):
            built(app, layout, push=f"{registry}/me/app:1")


# --- a real base


@pytest.mark.network
def test_an_image_runs_as_its_user_without_a_network_and_holds_what_its_list_says(
    storage: Storage, base_archive: Path, tmp_path: Path
):
    project = tmp_path / "app"
    (project / "src/small_app").mkdir(parents=True)
    (project / "pyproject.toml").write_text(
        '[project]\nname = "small-app"\nversion = "0.1.0"\nrequires-python = ">=3.10"\n'
        'dependencies = ["click", "requests", "pyyaml", "numpy"]\n[project.scripts]\nsmall-app = "small_app:main"\n'
        '[build-system]\nrequires = ["uv_build>=0.8"]\nbuild-backend = "uv_build"\n'
    )
    code = f"import sys\ndef main():\n    exec({_INSIDE!r}, {{}})\n"
    (project / "src/small_app/__init__.py").write_text(code)
    subprocess.run([uv.ensure(Machine.detect()), "lock", "--quiet"], cwd=project, check=True)
    output, sbom = tmp_path / "img.tar", tmp_path / "sbom.json"
    built(project, f"docker-archive:{base_archive}", lock=None, output=output, sbom=sbom)
    container = storage.buildah("from", f"docker-archive:{output}").strip().splitlines()[-1]
    said = storage.buildah("run", "--user", "1000:1000", "--network", "none", container, "--", "small-app")
    result = json.loads(re.search(r"RESULT (.+)", said)[1])
    assert (result["uid"], result["failed"]) == (1000, [])
    assert result["imported"] > 3
    assert (result["user"], result["home"], result["can_write"]) == ("app", ["/home/app", "/home/app"], True)
    listed = json.loads(sbom.read_text())["components"]
    kinds = {
        kind: {c["name"]: c["version"] for c in listed if c["purl"].startswith(f"pkg:{kind}/")}
        for kind in ("pypi", "deb")
    }
    assert result["python"] == kinds["pypi"]
    assert result["debian"] == kinds["deb"]
