"""How Miniconda's installer and conda fail, by what they print, and what that means here."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from colab_env.errors import (
    BuildError,
    ColabEnvError,
    CondaError,
    DiskFullError,
    HashMismatchError,
    InstallerError,
    NetworkError,
    NotWritableError,
    PackageNotFoundError,
    ProjectFileError,
    TermsOfServiceError,
)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to fail: the words that show it, the error to raise, the fact and the next action in words."""

    kind: type[ColabEnvError]
    words: tuple[str, ...]
    fact: str
    hint: str
    is_transient: bool = False
    needs_consent: bool = False


_NO_SPACE = Fault(
    kind=DiskFullError,
    words=(
        "No space left on device",
        "[Errno 28]",
        "Not enough free disk space",
        "NoSpaceLeftError",
        "Disk quota exceeded",
    ),
    fact="the disk is full",
    hint="free some space, or choose a prefix on another disk, then run the same call again",
)

INSTALLER_FAULTS = (
    _NO_SPACE,
    Fault(
        kind=NotWritableError,
        words=("Could not create directory", "Permission denied", "Read-only file system"),
        fact="the prefix may not be written",
        hint="choose a prefix of your own, such as ~/miniconda3",
    ),
    Fault(
        kind=InstallerError,
        words=("Text file busy",),
        fact="another program is running from the prefix, or installs into it",
        hint="wait until it has ended, then run the same call again",
    ),
    Fault(
        kind=InstallerError,
        words=("md5sum mismatch",),
        fact="the installer is damaged",
        hint="give the sha256 that the publisher names for it, then run the same call again",
    ),
    Fault(
        kind=InstallerError,
        words=("Installer requires GLIBC",),
        fact="this machine's C library is too old for the installer",
        hint="choose an older installer with installer=URL and sha256=...",
    ),
)

_TERMS = Fault(
    kind=TermsOfServiceError,
    words=("CondaToSNonInteractiveError", "CondaToSPermissionError", "Terms of Service have not been accepted"),
    fact="a channel wants its terms of service accepted, which only you can do",
    hint="use channels=('conda-forge',), which asks for nothing",
    needs_consent=True,
)

CONDA_FAULTS = (
    _NO_SPACE,
    _TERMS,
    Fault(
        kind=PackageNotFoundError,
        words=("PackagesNotFoundInChannelsError", "PackagesNotFoundError", "ResolvePackageNotFound"),
        fact="the channels have no such package",
        hint="check the spelling at https://conda-forge.org/packages, or name another channel",
    ),
    Fault(
        kind=PackageNotFoundError,
        words=("LibMambaUnsatisfiableError", "UnsatisfiableError"),
        fact="the packages do not fit together, or not with what is installed",
        hint="ask for other versions, or for a Python that they support",
    ),
    Fault(
        kind=ProjectFileError,
        words=(
            *("EnvironmentSpecPluginNotDetected", "EnvironmentFileInvalid", "EnvironmentFileEmpty", "SpecNotFound"),
            *(
                "EnvironmentFileExtensionNotValid",
                "EnvironmentFileTypeMismatchError",
                "InvalidMatchSpec",
                "ParserError",
            ),
            "ScannerError",
        ),
        fact="conda cannot read the file",
        hint="check it: `channels:` and `dependencies:`, each with a list, as `conda env export` writes them",
    ),
    Fault(
        kind=BuildError,
        words=("CondaEnvException", "Pip failed"),
        fact="pip cannot install what its section `pip:` says",
        hint="read what pip says above; conda's own packages were fine",
    ),
    Fault(
        kind=CondaError,
        words=("UnavailableInvalidChannel",),
        fact="a channel is not there",
        hint="check the channel's name",
    ),
    Fault(
        kind=NetworkError,
        words=("CondaSSLError", "CERTIFICATE_VERIFY_FAILED"),
        fact="a certificate is not trusted here",
        hint="behind a company's proxy, set REQUESTS_CA_BUNDLE to its certificate file",
    ),
    Fault(
        kind=NetworkError,
        words=("ProxyError",),
        fact="the proxy does not let conda through",
        hint="check the variables http_proxy and https_proxy",
    ),
    Fault(
        kind=NetworkError,
        words=("OfflineError", "CONDA_OFFLINE"),
        fact="conda was told to stay offline",
        hint="unset CONDA_OFFLINE",
    ),
    Fault(
        kind=HashMismatchError,
        words=("ChecksumMismatchError",),
        fact="a package arrived damaged",
        hint="run the same call again; if it stays so, name another channel",
        is_transient=True,
    ),
    Fault(
        kind=NetworkError,
        words=(
            "IncompleteRead",
            "CondaHTTPError",
            "Connection broken",
            "ConnectionResetError",
            "RemoteDisconnected",
            "ReadTimeout",
            "ConnectionFailed",
        ),
        fact="the channels cannot be reached, or the connection broke",
        hint="check that this machine reaches the channels, then run it again",
        is_transient=True,
    ),
    Fault(
        kind=NotWritableError,
        words=("EnvironmentNotWritableError", "NoWritablePkgsDirError", "NotWritableError", "Permission denied"),
        fact="the prefix may not be written",
        hint="change its owner or mode, or choose a prefix of your own",
    ),
)

LOST_HISTORY = "has no default base environment"


def recognise(faults: Sequence[Fault], lines: Sequence[str]) -> Fault | None:
    """Return the first fault that the output shows; an `exception_name` goes before other text."""
    text = "\n".join(lines)
    named = re.search(r'"exception_name":\s*"(\w+)"', text)
    for place in (named[1], text) if named else (text,):
        for fault in faults:
            if any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", place) for word in fault.words):
                return fault
    return None


def told(lines: Sequence[str]) -> tuple[str, ...]:
    """Return what the output says to a person: the `message` of a JSON object and what pip said, or the lines themselves."""
    text = "\n".join(lines)
    start = text.find("{")
    try:
        found, _ = json.JSONDecoder().raw_decode(text[start:]) if start >= 0 else ({}, 0)
    except (ValueError, RecursionError):
        return tuple(lines)
    message = found.get("message") or found.get("error") if isinstance(found, dict) else None
    if not message:
        return tuple(lines)
    _, _, by_pip = text[:start].partition("Pip subprocess error:")
    return (*str(message).splitlines(), *by_pip.splitlines())


def channels_with_terms(lines: Sequence[str]) -> list[str]:
    """Return the addresses of the channels whose terms nobody has accepted, as conda lists them."""
    # In a list: an address on a line of its own is the documentation's.
    listed = re.findall(r"^[ \t]*[-•‣][ \t]+(https?://[^\s,\"'\\]+)[ \t]*$", "\n".join(told(lines)), re.MULTILINE)
    return list(dict.fromkeys(listed))
