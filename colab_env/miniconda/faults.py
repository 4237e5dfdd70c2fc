"""How Miniconda's installer and conda fail, by what they print, and what that means here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
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
        "errno: 28",
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
    words=("CondaToSNonInteractiveError", "Terms of Service have not been accepted"),
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
        words=("LibMambaUnsatisfiableError", "RattlerUnsatisfiableError", "UnsatisfiableError"),
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
            # Since conda 26.3, whatever is wrong with the file.
            "Failed to parse environment specification from file",
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
        # Conda has tried twice itself by then: nothing to try four times more.
        words=("CONNECTION FAILED", "NameResolutionError", "NewConnectionError", "ConnectTimeoutError"),
        fact="the channels cannot be reached",
        hint="check that this machine reaches the address above, and the channel's name",
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
        fact="the connection to the channels broke",
        hint="check that this machine reaches the channels, then run it again",
        is_transient=True,
    ),
    Fault(
        kind=NotWritableError,
        words=(
            *("EnvironmentNotWritableError", "NoWritablePkgsDirError", "NotWritableError", "CondaToSPermissionError"),
            "Permission denied",
        ),
        fact="the prefix may not be written",
        hint="change its owner or mode, or choose a prefix of your own",
    ),
)

LOST_HISTORY = "has no default base environment"
# Where conda stops saying what is wrong and begins to give advice, which is the same each time.
_ADVICE = (
    "To search for alternate channels",
    "An HTTP error occurred",
    "A remote server error occurred",
    "You will need to adjust your conda configuration",
    "If your current network has",
    "To accept these channels' Terms of Service",
)
_SHOWN = 3  # errors of one report, or links of one traceback
_RAISED = re.compile(r"[\w.]*(?:Error|Exception|Interrupt)\b(?:: .*)?")  # the last line of a traceback
_UNTOLD = re.compile(
    r"AttributeError: '\w+' object has no attribute '(?:dump_map|_caused_by)'"
)  # conda's, at reporting
_CAUSE = re.compile(r"(\w+Error)\(\"([^\"]+)\"\)")


def recognise(faults: Sequence[Fault], lines: Sequence[str]) -> Fault | None:
    """Return the first fault that the output shows: by the names of exceptions, by what they say, by other text."""
    errors = _errors(lines)
    names = [str(error.get("exception_name")) for error in errors]
    telling = "\n".join(name for name in names if name != "CondaHTTPError")  # of which the message says what it is
    # The rest of a report is about the machine, variables such as CONDA_OFFLINE among it.
    messages = "\n".join(message for error in errors for message in _message(error))
    for text in (telling, messages, "\n".join(names)) if errors else ("\n".join(lines),):
        for fault in faults:
            if any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) for word in fault.words):
                return fault
    return None


def cause_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Return what the output says of the cause: of each error in a JSON object, of pip, or of each link of a traceback.

    Without any of these, the last twelve lines.
    """
    # conda's own report ends with its platform and advice: the cause stands far above the last lines.
    errors, by_pip = _errors(lines), _pip_lines(lines)
    if errors:
        causes = list(dict.fromkeys(_cause(error, lines) for error in errors))
        more = len(causes) - _SHOWN
        first = [line for cause in causes[:_SHOWN] for line in cause]
        return (*first, *([f"and {more} more such errors"] if more > 0 else []), *by_pip)
    if by_pip:
        return by_pip
    raised = [line.strip() for line in lines if _RAISED.fullmatch(line) and not _UNTOLD.fullmatch(line)]
    return tuple(dict.fromkeys(raised))[-_SHOWN:] or tuple(line for line in lines if line.strip())[-12:]


def channels_with_terms(lines: Sequence[str]) -> list[str]:
    """Return the addresses of the channels whose terms nobody has accepted, as conda lists them."""
    # In a list: an address on a line of its own is the documentation's.
    text = "\n".join(message for error in _errors(lines) for message in _message(error)) or "\n".join(lines)
    listed = re.findall(r"^[ \t]*[-•‣][ \t]+(https?://[^\s,\"'\\]+)[ \t]*$", text, re.MULTILINE)
    return list(dict.fromkeys(listed))


def _errors(lines: Sequence[str]) -> Sequence[Mapping[str, object]]:
    """Return the errors in the output of `--json`: the one, or those that a CondaMultiError holds."""
    decoder = json.JSONDecoder()
    for number, line in enumerate(lines):
        if not line.startswith("{"):
            continue
        try:
            report, _ = decoder.raw_decode("\n".join(lines[number:]))
        except (ValueError, RecursionError):
            continue
        if isinstance(report, dict) and report.keys() & {"error", "message", "exception_name"}:
            several = report.get("errors")
            errors = [error for error in several if isinstance(error, dict)] if isinstance(several, list) else []
            return errors or [report]
    # Of a report that is longer than what is kept of the output, the beginning is missing.
    parts = re.findall(r'"exception_name": "(\w+)".*?"message": ("(?:[^"\\]|\\.)*")', "\n".join(lines), re.DOTALL)
    return [{"exception_name": name, "message": json.loads(message, strict=False)} for name, message in parts]


def _message(error: Mapping[str, object]) -> list[str]:
    return str(error.get("message") or error.get("error") or "").splitlines()


def _cause(error: Mapping[str, object], output: Sequence[str]) -> tuple[str, ...]:
    """Return what an error says before its advice, and which connection broke if it does not say."""
    lines = []
    for line in _message(error):
        if line.startswith(_ADVICE):
            break
        if line.strip() and not line.startswith("Elapsed: "):
            lines.append(line)
    broken = next((line for line in output if "after connection broken by" in line), "")
    # A retry that succeeded leaves its warning in the output, too.
    is_about_network = re.search("HTTP|Proxy|SSL|Connection", str(error.get("exception_name")))
    caused = _CAUSE.search(str(error.get("caused_by", ""))) or (_CAUSE.search(broken) if is_about_network else None)
    return (*lines[:12], *([f"{caused[1]}: {caused[2]}".replace("\\'", "'")] if caused else []))


def _pip_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Return what pip says where it fails below conda: its errors, or its last lines."""
    start = next((number for number, line in enumerate(lines) if line.startswith("Pip subprocess error:")), None)
    if start is None:
        return ()
    output = [line for line in lines[start + 1 :] if line.strip() and not line.startswith("{")]
    errors = [line for line in output if line.lstrip().startswith("ERROR:")]
    return tuple((errors or output)[-12:])
