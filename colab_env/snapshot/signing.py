"""Who made a snapshot: the key that signs what this machine saves, and the keys that it knows again.

A signature is an HMAC-SHA256 of a snapshot's description, which holds the SHA-256 of everything else. Whoever has the key
can check it and can make it: it is for one person's machines, or for those who share a cache.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import sys
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from colab_env import _report, _state
from colab_env.errors import UsageError
from colab_env.step import changing

if TYPE_CHECKING:
    from pathlib import Path

    from colab_env.machine import Machine
    from colab_env.snapshot.manifest import Footer

VARIABLE = "COLAB_ENV_SNAPSHOT_KEY"  # in the environment, and the name of the secret in Colab
_LENGTH = 32  # bytes of a key
_PURPOSE = b"colab-env snapshot 2\0"  # so that a signature of ours for anything else would be none for a snapshot
PATIENCE = 30  # seconds for Colab's page, where somebody may have to allow the notebook to read its secret
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key: whoever has it can make snapshots that are restored without a question."""

    secret: bytes = field(repr=False)

    @classmethod
    def parsed(cls, text: str, *, origin: str) -> Key:
        """Read 32 bytes in hexadecimal or base64. Raises UsageError, which does not repeat the text."""
        text = text.strip()
        try:
            is_hex = len(text) == 2 * _LENGTH
            secret = bytes.fromhex(text) if is_hex else base64.b64decode(text, altchars=b"-_", validate=True)
        except ValueError:
            secret = b""
        if len(secret) != _LENGTH:
            msg = f"{origin} holds no key for snapshots"
            raise UsageError(msg, hint="a key is the 64 hexadecimal digits that `colab-env cache key` prints")
        return cls(secret=secret)

    def sign(self, text: bytes) -> bytes:
        """Return the signature for a description: 32 bytes."""
        return hmac.digest(self.secret, _PURPOSE + text, hashlib.sha256)

    def has_signed(self, footer: Footer) -> bool:
        """Say whether the description of a snapshot was signed with this key."""
        return footer.signature is not None and hmac.compare_digest(footer.signature, self.sign(footer.text))


@dataclass(frozen=True, kw_only=True)
class KeyFile:
    """The key as the data directory has it, for its owner's eyes only."""

    schema: ClassVar[str] = "snapshot key"
    version: ClassVar[int] = 1

    key: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.key, re.ASCII):
            msg = "no key"
            raise ValueError(msg)


class Keyring:
    """The keys of one call: of the environment, of the data directory, and of Colab's secrets, which are asked once."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def knows(self, footer: Footer) -> bool:
        """Say whether a key of ours signed a snapshot. Asks Colab's page only where no other key did."""
        if footer.signature is None:
            return False
        return any(key.has_signed(footer) for key in self._here) or (
            self._colabs is not None and self._colabs.has_signed(footer)
        )

    def signing(self) -> tuple[Key, bool]:
        """Return the key to sign with, and whether it was made just now; it is kept in the data directory."""
        if self._here:
            return self._here[0], False
        with changing("save", self._machine, self._machine.data / "locks" / "snapshot-key"):
            if (own_key := _stored_key(self._machine)) is not None:  # another run has made it meanwhile
                return own_key, False
            key = self._colabs or Key(secret=secrets.token_bytes(_LENGTH))
            # What Colab's secrets hold is kept too: a command in a shell cannot ask the page.
            _state.write(_file(self._machine), KeyFile(key=key.secret.hex()), mode=0o600)
        del self._here
        return key, self._colabs is None

    @cached_property
    def _here(self) -> list[Key]:
        variable = self._machine.environ.get(VARIABLE)
        named_key = Key.parsed(variable, origin=f"the variable {VARIABLE}") if variable else None
        return [key for key in (named_key, _stored_key(self._machine)) if key is not None]

    @cached_property
    def _colabs(self) -> Key | None:
        text = _colab_secret()
        return Key.parsed(text, origin=f"the Colab secret {VARIABLE}") if text else None


@dataclass(frozen=True, kw_only=True)
class Trust:
    """The one snapshot of another's that a person takes: by its name or by its SHA-256, or none."""

    name: str | None = None
    sha256: str | None = None

    @classmethod
    def parsed(cls, text: str | None) -> Trust:
        """Read what a person wrote. Raises UsageError."""
        if text is None:
            return cls()
        if match := _SHA256.fullmatch(text.strip()):
            return cls(sha256=match[1].lower())
        if text.endswith(".tar.zst") and "/" not in text:
            return cls(name=text)
        msg = f"{text!r} is neither the name of a snapshot nor a SHA-256"
        raise UsageError(msg, hint="give trust= one of those that `colab-env cache list` shows")

    def covers(self, name: str, footer: Footer) -> bool:
        """Say whether this is the snapshot that was named."""
        return name == self.name or footer.sha256 == self.sha256


def refusal(name: str, footer: Footer) -> str:
    """Return why a snapshot of nobody we know is not used, and what to do about it once."""
    how = "is not signed" if footer.signature is None else "was signed with a key that is not here"
    return (
        f"{name} {how}. Is it yours? Keep your key as the Colab secret {VARIABLE} (`colab-env cache key` prints it), "
        f"or take this snapshot with trust='sha256:{footer.sha256}'"
    )


def keep_hint() -> str:
    """Return what to do with a key that was just made."""
    return f"signed with a new key. For the next machine, store what `colab-env cache key` prints as the Colab secret {VARIABLE}"


def _file(machine: Machine) -> Path:
    return machine.data / "snapshot-key.json"


def _stored_key(machine: Machine) -> Key | None:
    file = _state.read(_file(machine), KeyFile)
    return Key(secret=bytes.fromhex(file.key)) if file else None


def _colab_secret() -> str | None:
    """Ask Colab's page; None where there is none, it has no such secret, or this notebook may not read it."""
    if "google.colab" not in sys.modules or not _report.in_notebook():
        return None
    try:
        from google.colab import _message  # type: ignore[import-not-found]

        # The request of userdata.get, which waits for ever where no page answers.
        answer = _message.blocking_request("GetSecret", request={"key": VARIABLE}, timeout_sec=PATIENCE)
    except Exception:  # noqa: BLE001  (whatever is wrong with the page: there is no key)
        return None
    is_granted = isinstance(answer, dict) and answer.get("exists") and answer.get("access")
    text = answer.get("payload") if is_granted else None
    return text if isinstance(text, str) else None
