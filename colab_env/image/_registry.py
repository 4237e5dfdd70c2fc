"""A registry of images: the user's own login for it, its tokens, manifests and blobs (OCI distribution 1.1)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from colab_env import _download, _files, _report
from colab_env.errors import DiskFullError, HashMismatchError, NetworkError, RegistryLoginError, UsageError
from colab_env.image import reference as names
from colab_env.image.reference import DOCKER_HUB
from colab_env.results import short

if TYPE_CHECKING:
    import requests

    from colab_env.image.reference import Descriptor, ImageReference
    from colab_env.machine import Machine

_TIMEOUT = (10, 300)  # seconds to connect, seconds until a registry has stored a layer
_LARGEST = 4 * 2**20  # bytes of a manifest, as registries themselves limit it
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_READING = "pull"
_WRITING = "pull,push"


class Registry:
    """One repository of a registry, read and, where the login may, written. Tokens are kept while this object lives."""

    def __init__(self, reference: ImageReference, login: Login, *, mounting: str | None = None) -> None:
        """Open nothing yet. `mounting` is another repository of the same registry whose blobs may be taken over."""
        _download.require_requests()
        import requests

        self.reference = reference
        self._login = login
        self._mounting = mounting
        self._authorization = ""
        self._session = requests.Session()
        # A netrc file of the user is for other programs, and would go before the token.
        self._session.auth = lambda request: request

    def manifest(self, digest: str | None = None) -> tuple[bytes, str]:
        """Return a manifest or an index, and its digest: the one that is asked for, else that of the name."""
        expected = digest or self.reference.digest
        url = f"{self.reference.url}/manifests/{expected or self.reference.tag}"
        answer = self._send("GET", url, headers={"Accept": ", ".join(names.MANIFEST_TYPES)}, scope=_READING)
        content = self._content(answer)
        self._require(answer, 200, f"there is no image {self.reference}")
        actual = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if expected and actual != expected:
            msg = f"{self.reference.registry} answers with {actual} where {expected} was asked for"
            raise HashMismatchError(msg, hint="try again; if it stays so, do not use this registry")
        if not content.lstrip().startswith(b"{"):
            raise self._web_page(answer)
        return content, actual

    def fetch(self, blob: Descriptor, target: Path) -> None:
        """Download a blob to a file, which appears when all of it is there and right."""
        url = f"{self.reference.url}/blobs/{blob.digest}"
        sha256 = blob.digest.removeprefix("sha256:")
        headers = {"Authorization": self._authorization} if self._authorization else {}
        try:
            _download.fetch(url, target, sha256=sha256, headers=headers, largest=blob.size)
        except HashMismatchError as error:
            msg = f"{self.reference.registry} sends something else than the blob {blob.digest[:19]}"
            raise HashMismatchError(msg, hint="try again; if it stays so, do not use this registry") from error
        except NetworkError:
            self._send("HEAD", url, scope=_READING).close()  # says what is missing, such as a login
            raise

    def has(self, digest: str) -> bool:
        """Say whether the repository has a blob already."""
        answer = self._send("HEAD", f"{self.reference.url}/blobs/{digest}", scope=_WRITING)
        if answer.status_code not in (200, 404):
            self._require(answer, 200, "it does not say which layers it has")
        return answer.status_code == 200

    def mount(self, digest: str) -> str | None:
        """Take a blob over from the other repository: None when that is done, else where it is to be sent."""
        query = {"mount": digest, "from": self._mounting} if self._mounting else {}
        url = f"{self.reference.url}/blobs/uploads/"
        answer = self._send("POST", url, params=query, headers={"Content-Length": "0"}, scope=_WRITING)
        if answer.status_code == 201:
            return None
        self._require(answer, 202, f"it takes no layer for {self.reference.repository}")
        return urljoin(url, answer.headers.get("Location", ""))

    def upload(self, where: str, blob: Descriptor, body: Any) -> None:
        """Send a blob from an open file to the address that `mount` returned."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        query = {"digest": blob.digest}
        answer = self._send("PUT", where, params=query, headers=headers, data=body, scope=_WRITING)
        self._require(answer, 201, f"it did not take the layer {blob.digest[:19]}")

    def put_manifest(self, content: bytes, media_type: str) -> None:
        """Give the image its name: the last thing, so that an image which is named is whole."""
        url = f"{self.reference.url}/manifests/{self.reference.tag}"
        answer = self._send("PUT", url, headers={"Content-Type": media_type}, data=content, scope=_WRITING)
        self._require(answer, 201, "it did not take the manifest")

    def _send(self, method: str, url: str, *, scope: str, **options: Any) -> requests.Response:
        answer: requests.Response = self._request(method, url, **options)
        if answer.status_code == 401:
            self._authorization = self._authorized(answer, scope)
            if hasattr(options.get("data"), "seek"):
                options["data"].seek(0)
            answer = self._request(method, url, **options)
        if answer.status_code in (401, 403):
            raise self._refused(answer, scope)
        if answer.status_code == 429:
            wait = answer.headers.get("Retry-After", "")
            msg = f"{self.reference.registry} answers no more requests for now (429 Too Many Requests)"
            hint = f"wait {wait} s" if wait.isdecimal() else "wait some minutes, or log in there"
            raise NetworkError(msg, hint=f"{hint}, then run it again; --base oci:DIR needs no registry")
        return answer

    def _request(self, method: str, url: str, *, headers: Mapping[str, str] | None = None, **options: Any) -> Any:
        import requests

        # An upload goes where the registry says; its own token goes to itself only.
        is_own = urlsplit(url).netloc == urlsplit(self.reference.url).netloc
        authorization = {"Authorization": self._authorization} if self._authorization and is_own else {}
        try:
            return self._session.request(
                method, url, headers={**authorization, **(headers or {})}, timeout=_TIMEOUT, stream=True, **options
            )
        except requests.exceptions.SSLError as error:
            msg = f"the certificate of {self.reference.registry} is not trusted here"
            hint = "set REQUESTS_CA_BUNDLE to the file of whoever signed it"
            raise NetworkError(msg, hint=hint) from error
        except (requests.RequestException, OSError, ValueError) as error:
            msg = f"cannot reach the registry {self.reference.registry}: {type(error).__name__}"
            raise NetworkError(msg, hint="check its name and the network or proxy, then run it again") from error

    def _authorized(self, answer: requests.Response, scope: str) -> str:
        """Return what a challenge wants in the header: the login itself, or a token that is fetched with it."""
        kind, _, rest = answer.headers.get("WWW-Authenticate", "").partition(" ")
        challenge = dict(_CHALLENGE.findall(rest))
        answer.close()
        if kind.lower() == "basic" and self._login.user:
            return _basic(self._login)
        realm = challenge.get("realm", "")
        if kind.lower() != "bearer" or not realm:
            return ""
        self._require_address(realm)
        is_encrypted = urlsplit(realm).scheme == "https" or self.reference.url.startswith("http:")
        scopes = [f"repository:{self.reference.repository}:{scope}"]
        scopes += [f"repository:{self._mounting}:{_READING}"] if self._mounting else []
        token = self._token(realm, challenge.get("service", ""), scopes, is_encrypted=is_encrypted)
        return f"Bearer {token}" if token else ""

    def _token(self, realm: str, service: str, scopes: list[str], *, is_encrypted: bool) -> str:
        login, query = self._login, {"service": service, "scope": scopes}
        if not is_encrypted and login.has_credentials:
            msg = f"{self.reference.registry} wants the password sent without encryption, to {urlsplit(realm).hostname}"
            raise RegistryLoginError(msg, hint="nothing was sent; use a registry whose tokens come over https")
        if login.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": login.identity_token, "client_id": "colab-env"}
            body = {**form, "service": service, "scope": " ".join(scopes)}
            answer = self._request("POST", realm, data=body)
        else:
            headers = {"Authorization": _basic(login)} if login.user else {}
            answer = self._request("GET", realm, params=query, headers=headers)
        content = self._content(answer)
        if answer.status_code in (401, 403):
            raise self._refused(answer, scopes[0].rpartition(":")[2])
        try:
            values = json.loads(content)
            token = values.get("token") or values.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if answer.status_code != 200 or not isinstance(token, str):
            msg = f"{self.reference.registry} gives no token (it answers {answer.status_code})"
            raise NetworkError(msg, hint="try again later; see whether its name is right")
        if not (token.isascii() and token.isprintable()):
            raise self._wrong("a token that no header can have")
        return token

    def _require_address(self, realm: str) -> None:
        try:
            is_address = urlsplit(realm).scheme in ("http", "https") and bool(urlsplit(realm).hostname)
        except ValueError:
            is_address = False
        if not is_address:
            what = f"{_report.clean(realm)!r} as the address of its tokens"
            raise self._wrong(what)

    def _wrong(self, what: str) -> NetworkError:
        msg = f"the answer of {self.reference.registry} is wrong: it names {what}"
        return NetworkError(msg, hint="check the name of the registry; if it is right, tell whoever runs it")

    def _content(self, answer: requests.Response) -> bytes:
        import requests

        try:
            with answer:
                content = bytearray()
                for block in answer.iter_content(1 << 16):
                    content += block
                    if len(content) > _LARGEST:
                        msg = f"{self.reference.registry} answers without end where a manifest was expected"
                        raise NetworkError(msg, hint="check the name of the registry")
        except (requests.RequestException, OSError) as error:
            msg = f"the answer of {self.reference.registry} broke off"
            raise NetworkError(msg, hint="check the network, then run it again") from error
        if answer.status_code == 200 and b"<html" in content[:1000].lower():
            raise self._web_page(answer)
        return bytes(content)

    def _require(self, answer: requests.Response, status: int, otherwise: str) -> None:
        if answer.status_code == status:
            return
        if answer.status_code == 200:  # somebody else answers, whatever is asked
            raise self._web_page(answer)
        if answer.status_code == 404 and status == 200:
            msg = f"{otherwise}: {self.reference.registry} does not know it"
            raise UsageError(msg, hint="check name and tag")
        if answer.status_code == 507:
            msg = f"{self.reference.registry} has no space left"
            raise DiskFullError(msg, hint="make room there, or push elsewhere")
        msg = f"{otherwise}: {self.reference.registry} answers {answer.status_code} {answer.reason}"
        raise NetworkError(msg, hint="try again later; see whether the registry is well and the name is right")

    def _web_page(self, answer: requests.Response) -> NetworkError:
        host = urlsplit(answer.url).netloc
        msg = f"{self.reference.registry} shows a web page at {host} where an image should be"
        return NetworkError(msg, hint="sign in to this network in a browser, or check the registry's name")

    def _refused(self, answer: requests.Response, scope: str) -> RegistryLoginError:
        login, registry = self._login, self.reference.registry
        answer.close()
        what = "write to" if scope == _WRITING else "read"
        if login.has_credentials:
            who = f"the login {_report.clean(login.user)!r}" if login.user else "the token"
            msg = f"{registry} does not let {who} {what} {self.reference.repository}"
            hint = f"log in anew; the login is from {short(login.file or Path('?'))}"
        elif login.helper:
            msg = f"{registry} wants a login, and {short(login.file or Path('?'))} leaves it to {login.helper}"
            hint = (
                "colab-env runs no helper: `skopeo login --authfile auth.json "
                f"{registry}`, and set REGISTRY_AUTH_FILE to that file"
            )
        else:
            msg = f"{registry} wants a login to {what} {self.reference.repository}"
            hint = f"`docker login {registry}` or `podman login {registry}`, or check the image's name"
        return RegistryLoginError(msg, hint=f"{hint}; nothing was written")


def _basic(login: Login) -> str:
    from requests.auth import _basic_auth_str

    return str(_basic_auth_str(login.user.encode(), login.password.encode()))


@dataclass(frozen=True, kw_only=True)
class Login:
    """A name and a password, or a token that is exchanged for one; `helper` names a program that has them instead."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    helper: str | None = None
    file: Path | None = None

    @property
    def has_credentials(self) -> bool:
        """Say whether there is anything to log in with."""
        return bool(self.user or self.identity_token)


def find_login(reference: ImageReference, machine: Machine) -> Login:
    """Return the login for a registry, from the first file that has one; an empty one where none has."""
    helper = Login()
    for path in _login_files(machine):
        values = _files.read_json(path)
        if not isinstance(values, dict):
            continue
        for key in _login_keys(reference):
            if (login := _login(_table(values, "auths").get(key), path)).has_credentials:
                return login
        program = next(
            (name for key in _login_keys(reference) if (name := _table(values, "credHelpers").get(key))), None
        )
        program = program or values.get("credsStore")
        if isinstance(program, str) and helper.helper is None:
            helper = Login(helper=f"docker-credential-{program}", file=path)
    return helper


def _login_files(machine: Machine) -> Iterator[Path]:
    """Yield the files in the order of containers-auth.json(5), Docker's own last."""
    environ = machine.environ
    if variable := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(variable)
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers/auth.json"
    yield Path(environ.get("XDG_CONFIG_HOME") or machine.home / ".config") / "containers/auth.json"
    yield Path(environ.get("DOCKER_CONFIG") or machine.home / ".docker") / "config.json"


def _login_keys(reference: ImageReference) -> list[str]:
    """Return the names that a registry has in such a file, the most exact first."""
    parts = f"{reference.registry}/{reference.repository}".split("/")
    keys = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    if reference.registry == DOCKER_HUB:
        return [*keys, f"https://index.{DOCKER_HUB}/v1/", f"index.{DOCKER_HUB}"]
    return [*keys, f"https://{reference.registry}", f"https://{reference.registry}/v2/"]


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = values.get(name)
    return table if isinstance(table, Mapping) else {}


def _login(entry: Any, path: Path) -> Login:
    if not isinstance(entry, Mapping):
        return Login()
    user, password = entry.get("username"), entry.get("password")
    if isinstance(auth := entry.get("auth"), str) and auth:
        try:
            user, _, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except ValueError:  # somebody's half-edited file: as good as none
            user = password = None
    token = entry.get("identitytoken")
    return Login(
        user=user if isinstance(user, str) else "",
        password=password if isinstance(password, str) else "",
        identity_token=token if isinstance(token, str) else "",
        file=path,
    )
