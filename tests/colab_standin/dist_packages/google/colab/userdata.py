"""Stand-in for tests, written from public behaviour: the user's secrets."""

from google.colab import _message


class SecretNotFoundError(Exception):
    """No such secret."""


class NotebookAccessError(Exception):
    """The notebook may not read this secret."""


class TimeoutException(Exception):  # noqa: N818 -- the public name
    """No page answered."""


def get(key):
    """Return a secret's value; ask the page for it."""
    answer = _message.blocking_request("GetSecret", request={"key": key}, timeout_sec=10)
    if not answer:
        raise TimeoutException(key)
    if not answer.get("exists"):
        raise SecretNotFoundError(key)
    if not answer.get("access"):
        raise NotebookAccessError(key)
    return answer.get("payload", "")
