# ruff: noqa: E501  the words of other tools
"""What kind of line it is: a command that is shown, what another program says of its own files, a compiler's words on a source."""

from __future__ import annotations

import re
from functools import lru_cache

# A command that is shown as it is run: by Docker, by a shell with -x, at a prompt, as a step of GitHub's.
_SHOWN = re.compile(
    r"(?:^|[\s>\]])RUN |^(?:[\[(]?[\w.-]+@[^$#%'\"]{1,80})?[$+#%] |^##\[group\]Run |process \"/bin/sh -c |^(?:\[\d+/\d+\] )?(?:Step|STEP) \d+/\d+ ?: |^Error: building at STEP |^The command '|^echo |^> \S+ |^libtool: (?:compile|link|install): "
    r"|^(?:sudo )?(?:apt|apt-get|yum|dnf|apk|brew|pacman) [\w-]"
)
# apt on names that its lists do not have, dpkg and debconf at work, the programs of coreutils on files.
_OF_FILES = re.compile(
    r"^/var/lib/dpkg/info/|^E: (?:Unable to locate package|Version '|Package '|Couldn't find any package|Release ')|^Package \S+ is not available, but is referred"
    r"|^(?:/\S+/)?(?:debconf|invoke-rc\.d|dpkg[\w-]*|update-[\w.-]+|delaying package configuration|No diversion|Leaving '|bundler|rebar3?)[: ]"
    r"|^(?:/\S+/)?(?:cat|cd|chgrp|chmod|chown|cp|dd|find|grep|gzip|head|install|ln|ls|mkdir|mktemp|mv|patch|readlink|rm|rmdir|sed|sort|stat|tail|tar|tee"
    r"|touch|unzip|wc): (?!(?:command )?not found|.{1,80}: (?:command )?not found$)"
)
# Steps, hints and warnings; a package manager of a language on its own packages.
_PASSING = re.compile(
    r"^## |^-- |^\[(?:INFO|DEBUG)\]|^(?:\w+Error: )?Cannot uninstall |^(?:info|notice|debug|deprecat\w*|npm WARN|npm ERR! (?:code|errno|Exit status|Failed at|This is probably|A complete log|node -v|npm -v|cwd|System|\S+@\S| {2,}|$)|gyp (?:info|WARN)|verb|http|timing)(?!\w)|(?:Deprecation|Future|Syntax|Insecure\w+|SNIMissing|Unicode|Resource)Warning: |^DEPRECATION: |^\[notice\] "
    r"|^(?:-- )?(?:Looking for|Performing Test|Check if|Checking whether|checking whether) "
    r"|^(?:Don't|Do not|Never|Avoid) (?:run|use|install)\b|^(?:Shall|Should|May|Do you|Would you)\b.{1,200}\?"
    r"|^Please set them or make sure they are set|unresolved dependency|^can't load package|^manifest for |: (?:note|remark): |^Gem::\w+|^at .{1,300}:\d+\)?$|^checking .{1,200}\.\.\. "
)
# A compiler's, a linter's on a line of a source file, but not what that includes: "x.go:97:27: cannot use opts as type Options".
_OF_SOURCE = re.compile(
    r"^\S{1,200}\.(?:go|rs|tsx?|jsx?|vue|java|kt|scala|swift|c|cc|cpp|cxx|m|mm|h|hh|hpp|cu|hs|ml|f|f90|F90|pyx|pxd|cs|php|rb|d)[:(]\d+(?:[:,]\d+)?[:)]|^Error: .{1,200} at \(\d\)"
)
# What a shell says of a word that it took for a program: whatever that is, no sentence of a package's.
_OF_SHELL = re.compile(
    r"^(?:/\S*/)?(?:sh|bash|dash|zsh|\S+\.sh)(?:: (?:line )?\d+)?: .{1,200}: (?:command )?not found$"
)
# A program says something of others: "autoreconf: 'configure.ac' is required"; "sox: not found" speaks of sox itself.
_SPEAKER = re.compile(
    r"^[\w.+-]{1,40}(?:\[\d+\])?: (?!(?:command |program )?(?:is |was )?(?:not |missing|required|unavailable))"
)


@lru_cache(maxsize=4096)
def is_shown(text: str) -> bool:
    """Say whether a line shows a command, or is about files and names that were given: it names nothing that is missing."""
    return _SHOWN.search(text) is not None or _OF_FILES.match(text) is not None


@lru_cache(maxsize=4096)
def is_prose(text: str) -> bool:
    """Say whether a line may say in free words what is missing."""
    return not (is_shown(text) or _PASSING.search(text) or _OF_SOURCE.match(text) or _OF_SHELL.match(text))


def without_speaker(text: str) -> str:
    """Return a line without the program that says it."""
    return _SPEAKER.sub("", text)
