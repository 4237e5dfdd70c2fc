"""The rule for the names of environments."""

from __future__ import annotations

import re
import unicodedata

from colab_env.errors import EnvironmentNameError

LONGEST = 64  # characters; Linux before 5.1 cuts the first line of a script after 127
_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_environment_name(name: str) -> str:
    """Return the name if it is one: ASCII letters, digits, dots, dashes and underscores, a letter or a digit first.

    Raises EnvironmentNameError, which names the character that is wrong: letters of other alphabets may look the same.
    """
    if _ALLOWED.fullmatch(name) and len(name) <= LONGEST:
        return name
    shown = ascii(name) if len(name) <= LONGEST else ascii(name[:20] + "...")
    msg = f"{shown} is not a name for an environment: {_fault(name)}"
    hint = "take letters a-z, digits, dots, dashes and underscores, such as 'web-1'"
    raise EnvironmentNameError(msg, hint=hint)


def _fault(name: str) -> str:
    if not name:
        return "it is empty"
    if len(name) > LONGEST:
        return f"it has {len(name)} characters, {LONGEST} are the limit"
    wrong = next((each for each in name if not re.fullmatch(r"[A-Za-z0-9._-]", each)), None)
    if wrong is None:
        return f"it begins with {name[0]!r}"
    return f"it has a {unicodedata.name(wrong, 'control character')} ({wrong!a})"
