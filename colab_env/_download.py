"""Download files: the only module that talks to web servers."""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from colab_env import _files, _report
from colab_env.errors import HashMismatchError, NetworkError

if TYPE_CHECKING:
    import requests

_CHUNK = 1 << 18  # bytes
_TIMEOUT = (10, 60)  # seconds to connect, seconds between two bytes
_ATTEMPTS = 5
_LARGEST_TEXT = 4_000_000  # bytes
_LARGEST_PAGE = 100_000
_LARGEST_SIMPLE_PAGE = 32_000_000  # the page of aiohttp, with its hashes and metadata, has 6 MB
# Timeouts, too many requests, and what servers and proxies say when they are busy.
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_NUMBER = re.compile(r"[0-9]{1,18}")  # a server may say anything, such as `Content-Length: abc`


class _TransientError(Exception):
    """A fault that may be gone at the next attempt."""


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str | None,
    headers: Mapping[str, str] | None = None,
    largest: int | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Download `url` to `target`, which appears only when its SHA-256 (64 hexadecimal digits) is right.

    None is for a file that vouches for itself: it appears when it is whole. `headers` go with the request; another host
    that it is redirected to does not get the one called Authorization. Of a file with more than `largest` bytes the rest
    is not read, so that its checksum is wrong.

    The bytes go to `<target>.part`, which a later call goes on with (HTTP Range). Connection faults and the status
    codes 408, 425, 429, 500, 502, 503, 504 are tried five times, waiting 1, 2, 4, 8 seconds (`sleep`); others fail at
    once. Raises NetworkError, HashMismatchError (then nothing is left), DiskFullError or NotWritableError. Proxy and
    certificate settings are those that requests reads from the environment; certificates are always checked.
    """
    part = target.with_name(target.name + ".part")
    with _files.translate_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        had_part = part.exists()
        digest = _attempts(url, part, headers or {}, sleep, largest)
        if sha256 is None:
            part.replace(target)
            return
        if had_part and digest != sha256.lower():
            # What an earlier run left may be the beginning of another file.
            part.unlink()
            digest = _attempts(url, part, headers or {}, sleep, largest)
        if digest != sha256.lower():
            part.unlink()
            raise _wrong_hash(url, digest, sha256)
        part.replace(target)


def read_text(url: str, *, sleep: Callable[[float], object] = time.sleep) -> str:
    """Return a small text file from the web. Same faults and retries as `fetch`; NetworkError for a large one."""
    return str(_retrying(url, lambda: _text(url), sleep))


def read_once(url: str, *, accept: str = "*/*", timeout: tuple[float, float] = (3, 10)) -> str | None:
    """Return a small text file from the web in one attempt, or None where it cannot be had: for what is advice only."""
    try:
        import requests
    except ImportError:  # see `require_requests`
        return None
    try:
        with requests.get(url, headers={"Accept": accept}, timeout=timeout, stream=True) as answer:
            content = _begin(answer, _LARGEST_SIMPLE_PAGE + 1)
    except (requests.RequestException, ValueError, OSError):  # some addresses raise others than its own
        return None
    return content.decode("utf-8", "replace") if answer.ok and len(content) <= _LARGEST_SIMPLE_PAGE else None


def size(url: str, *, sleep: Callable[[float], object] = time.sleep) -> int | None:
    """Return the length in bytes of a file on the web, or None where the server does not say. Same faults as `fetch`."""

    def ask() -> int | None:
        with _get(url) as answer:  # not by HEAD, which some servers refuse
            length = answer.headers.get("Content-Length", "")
            return int(length) if _NUMBER.fullmatch(length) else None

    count: int | None = _retrying(url, ask, sleep)
    return count


def read_range(url: str, start: int, length: int, *, sleep: Callable[[float], object] = time.sleep) -> bytes | None:
    """Return bytes of a file on the web, to its end where `length` is negative; None where the server has no ranges.

    Same faults as `fetch`.
    """

    def ask() -> bytes | None:
        import requests

        with _get(url, start=start, end=start + length - 1 if length >= 0 else None) as answer:
            # 200 is the whole file: the server has no ranges, or none for this one.
            if answer.status_code != 206:
                return None
            try:
                return _begin(answer, _LARGEST_TEXT)
            except (requests.RequestException, OSError) as error:
                raise _TransientError(_reason(error)) from error

    content: bytes | None = _retrying(url, ask, sleep)
    return content


def sign_in_page(url: str) -> str | None:
    """Return the title of the page that people are shown at an address where a program expects links to files, or None.

    Pages of an index may have forms too, as devpi's have: with a link to a file it is an index.
    """
    try:
        import requests
    except ImportError:  # see `require_requests`
        return None
    try:
        with requests.get(url, timeout=_TIMEOUT, stream=True) as answer:
            text = _begin(answer, _LARGEST_PAGE).decode("utf-8", "replace")
    except (requests.RequestException, ValueError, OSError):  # some addresses raise others than its own
        return None
    is_page = re.search(r"(?i)<(?:form|input|script)\b", text) and not re.search(r"\.(?:whl|tar\.gz|zip)\b", text)
    if not answer.ok or not is_page:
        return None
    title = re.search(r"(?is)<title[^>]{0,200}>(.{0,500}?)</title>", text)
    return " ".join(title[1].split())[:80] if title else "without a title"


def refuses(url: str) -> bool:
    """Say whether an address wants another user name and password than it was given, in it or in ~/.netrc."""
    try:
        import requests
    except ImportError:  # see `require_requests`
        return False
    try:
        with requests.get(url, timeout=_TIMEOUT, stream=True) as answer:
            return bool(answer.status_code == requests.codes.unauthorized)
    except (requests.RequestException, ValueError, OSError):  # as above
        return False


def require_requests() -> None:
    """Raise NetworkError where requests is not installed: Debian's package of this command only recommends it."""
    try:
        import requests  # noqa: F401
    except ImportError as error:
        msg = f"nothing can be downloaded: the Python that runs colab-env ({sys.executable}) has no package requests"
        raise NetworkError(msg, hint="install it: apt install python3-requests, or pip install requests") from error


def _text(url: str) -> str:
    import requests

    with _get(url) as answer:
        try:
            # One byte more than is allowed tells "too large" from "exactly as large".
            content = _begin(answer, _LARGEST_TEXT + 1)
        except (requests.RequestException, OSError) as error:
            raise _TransientError(_reason(error)) from error
    if len(content) > _LARGEST_TEXT:
        msg = f"{url} answers with more than {_report.megabytes(_LARGEST_TEXT)} where a small text was expected"
        raise NetworkError(msg, hint="check the address")
    return content.decode("utf-8", "replace")


def _begin(answer: requests.Response, length: int) -> bytes:
    """Return the first bytes of an answer: it may be without end."""
    begin = bytearray()
    for block in answer.iter_content(_CHUNK):
        begin += block
        if len(begin) >= length:
            break
    return bytes(begin[:length])


def _attempts(
    url: str, part: Path, headers: Mapping[str, str], sleep: Callable[[float], object], largest: int | None
) -> str:
    return str(_retrying(url, lambda: _transfer(url, part, headers, largest), sleep))


def _retrying(url: str, attempt: Callable[[], Any], sleep: Callable[[float], object]) -> Any:
    require_requests()
    for number in range(_ATTEMPTS):
        try:
            return attempt()
        except _TransientError as error:  # noqa: PERF203 - a transfer takes longer than any try
            if number == _ATTEMPTS - 1:
                msg = f"cannot download {url}: {error}"
                raise NetworkError(
                    msg, hint=f"check that this machine reaches {_host(url)}, then run it again"
                ) from None
            _report.line(f"{error}; attempt {number + 2} of {_ATTEMPTS} in {2**number} s")
            sleep(2**number)
    raise AssertionError


def _transfer(url: str, part: Path, headers: Mapping[str, str], largest: int | None) -> str:
    digest = hashlib.sha256()
    have = _hash_existing(part, digest)
    with _get(url, start=have, headers=headers) as response:
        return _receive(response, part, digest, have, largest)


def _receive(response: requests.Response, part: Path, digest: Any, have: int, largest: int | None) -> str:
    if response.status_code == 416:  # Range Not Satisfiable: nothing is missing, or the part is of another file
        complete = response.headers.get("Content-Range", "").endswith(f"/{have}")
        if complete:
            return str(digest.hexdigest())
        part.unlink(missing_ok=True)
        msg = "the server does not know the part that is already here"
        raise _TransientError(msg)
    if response.status_code != 206:  # the server has no ranges, and sends the file from its beginning
        digest, have = hashlib.sha256(), 0
    _write(response, part, digest, have, largest)
    return str(digest.hexdigest())


def _hash_existing(part: Path, digest: Any) -> int:
    if not part.exists():
        return 0
    with part.open("rb") as handle:
        while block := handle.read(_CHUNK):
            digest.update(block)
    return part.stat().st_size


def _write(response: requests.Response, part: Path, digest: Any, have: int, largest: int | None) -> None:
    length = response.headers.get("Content-Length", "")
    total = have + int(length) if _NUMBER.fullmatch(length) else None  # what is no number, no server means
    began, first = time.monotonic(), have
    with part.open("ab" if have else "wb") as handle:
        for block in _blocks(response):
            handle.write(block)
            digest.update(block)
            have += len(block)
            # The bytes in all, at the speed of this session's.
            _report.progress(have, total, (time.monotonic() - began) * have / max(have - first, 1))
            if largest is not None and have > largest:
                return  # it may be without end, and is another file anyway
    if total is not None and have < total:
        msg = f"the connection ended after {have} of {total} bytes"
        raise _TransientError(msg)


def _blocks(response: requests.Response) -> Iterator[bytes]:
    import requests
    import urllib3

    try:
        # As they were published: the checksum and the length are of these bytes.
        yield from response.raw.stream(_CHUNK, decode_content=False)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise _TransientError(_reason(error)) from error


def _get(
    url: str, *, start: int = 0, end: int | None = None, headers: Mapping[str, str] | None = None
) -> requests.Response:
    import requests

    byte_range = f"bytes={start}-{'' if end is None else end}"
    # A compressed answer has another length, and a range of it is no range of the file.
    sent = {"Accept-Encoding": "identity", **({"Range": byte_range} if start else {}), **(headers or {})}
    try:
        response = requests.get(url, headers=sent, stream=True, timeout=_TIMEOUT)
    except requests.exceptions.InvalidProxyURL as error:
        msg = f"the address of the proxy for {_host(url)} is none"
        raise NetworkError(msg, hint="check the variables http_proxy and https_proxy") from error
    except ValueError as error:  # requests' own for addresses, and those of urllib3 and urllib, for a redirect too
        msg = f"{url} is not an address that can be downloaded from, or leads to one that is none"
        raise NetworkError(msg, hint="give an address that begins with https://") from error
    except requests.exceptions.SSLError as error:
        msg = f"the certificate of {_host(url)} is not trusted here"
        hint = "behind a company's proxy, set REQUESTS_CA_BUNDLE to its certificate file"
        raise NetworkError(msg, hint=hint) from error
    except requests.TooManyRedirects as error:
        msg = f"{_report.clean(url)} leads to other addresses without end"
        raise NetworkError(msg, hint="check the address") from error
    except (requests.RequestException, OSError) as error:
        raise _TransientError(_reason(error)) from error
    return _checked(url, response)


def _checked(url: str, response: requests.Response) -> requests.Response:
    # 416 says that the part here is as long as the file, or longer: the caller looks at it.
    if response.status_code >= 400 and response.status_code != 416:
        response.close()
    if response.status_code in _TRANSIENT:
        msg = f"the server answered {response.status_code} {response.reason}"
        raise _TransientError(msg)
    if response.status_code >= 400 and response.status_code != 416:
        msg = f"{url}: the server answered {response.status_code} {response.reason}"
        raise NetworkError(msg, hint="check the address and the version in it")
    return response


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "its host"
    except ValueError:
        return "its host"


def _reason(error: BaseException) -> str:
    text = type(error).__name__
    return {
        "ConnectTimeout": "no answer",
        "ReadTimeout": "the answer stopped",
        "ConnectionError": "no connection",
        "ProxyError": "the proxy refused the connection",
    }.get(text, text)


def _wrong_hash(url: str, digest: str, expected: str) -> HashMismatchError:
    msg = f"{url} has SHA-256 {digest}, but {expected} was expected; the file was deleted"
    return HashMismatchError(msg, hint="try again; if it stays so, do not use this file: it is not the published one")
