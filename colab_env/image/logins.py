"""The user's own logins at registries, as `docker login` and `podman login` leave them. Reads files; starts no helper."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files
from colab_env.image.reference import DOCKER_HUB

if TYPE_CHECKING:
    from colab_env.image.reference import ImageReference
    from colab_env.machine import Machine


@dataclass(frozen=True, kw_only=True)
class Login:
    """A name and a password, or a token that is exchanged for one; `helper` names a program that has them instead."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    helper: str | None = None
    file: Path | None = None

    @property
    def is_there(self) -> bool:
        """Say whether there is anything to log in with."""
        return bool(self.user or self.identity_token)


def find(reference: ImageReference, machine: Machine) -> Login:
    """Return the login for a registry, from the first file that has one; an empty one where none has."""
    helper = Login()
    for path in _files_of(machine):
        values = _files.read_json(path)
        if not isinstance(values, dict):
            continue
        for key in _keys(reference):
            if (login := _login(_table(values, "auths").get(key), path)).is_there:
                return login
        named = next((name for key in _keys(reference) if (name := _table(values, "credHelpers").get(key))), None)
        named = named or values.get("credsStore")
        if isinstance(named, str) and helper.helper is None:
            helper = Login(helper=f"docker-credential-{named}", file=path)
    return helper


def _files_of(machine: Machine) -> Iterator[Path]:
    """Yield the files in the order of containers-auth.json(5), Docker's own last."""
    environ = machine.environ
    if named := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers/auth.json"
    yield Path(environ.get("XDG_CONFIG_HOME") or machine.home / ".config") / "containers/auth.json"
    yield Path(environ.get("DOCKER_CONFIG") or machine.home / ".docker") / "config.json"


def _keys(reference: ImageReference) -> list[str]:
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
