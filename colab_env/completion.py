"""The completion scripts for bash, zsh and fish, written from the parsers of the commands. Pure text.

Names of environments and programs are asked of the shell part of the command (`colab-env --complete`), which takes no Python.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SHELLS = ("bash", "zsh", "fish")
# What stands for a value in the help says what it is.
_KINDS = {"DIR": "directory", "FILE": "file", "PATH": "file", "PROGRAM": "program"}
_OF_ENVIRONMENTS = ("env", "run", "which", "script", "unit")


@dataclass(frozen=True, kw_only=True)
class Completed:
    """What may follow the words of a command: `kinds` are those of its positional arguments, the last one repeated if `endless`.

    `options` are by their spellings, with the kind of their value, or None. A kind is "environment", "program", "file",
    "directory", "user", "" for anything, or such as "=bash zsh" for one of these.
    """

    words: tuple[str, ...]
    commands: dict[str, str]
    options: dict[tuple[str, ...], tuple[str | None, str]]
    kinds: tuple[str, ...]
    endless: bool


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return what a shell has to read to complete the command: one of SHELLS."""
    tree = list(_walk(parser, ()))
    return _fish(tree) if shell == "fish" else _bash(tree, is_zsh=shell == "zsh")


def _walk(parser: argparse.ArgumentParser, words: tuple[str, ...]) -> Iterator[Completed]:
    actions = parser._actions  # noqa: SLF001  (argparse shows them nowhere else)
    groups = [action for action in actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001
    helps = {action.dest: action.help or "" for group in groups for action in group._choices_actions}  # noqa: SLF001
    visible = [action for action in actions if action not in groups and action.help != argparse.SUPPRESS]
    positionals = [action for action in visible if not action.option_strings]
    kinds = [_kind(action, words) for action in positionals]
    yield Completed(
        words=words,
        commands={name: helps.get(name, "") for group in groups for name in group.choices},
        options={
            tuple(action.option_strings): (None if action.nargs == 0 else _kind(action, words), action.help or "")
            for action in visible
            if action.option_strings
        },
        kinds=(*kinds, "file") if words[-1:] in (("run",), ("unit",)) else tuple(kinds),
        endless=words[-1:] in (("run",), ("unit",)) or any(action.nargs in ("*", "+") for action in positionals),
    )
    for group in groups:
        for name, below in group.choices.items():
            yield from _walk(below, (*words, name))


def _kind(action: argparse.Action, words: Sequence[str]) -> str:
    if action.choices is not None:
        return f"={' '.join(map(str, action.choices))}"
    if action.dest == "user":
        return "user"
    metavar = str(action.metavar)
    if metavar == "NAME":
        return "environment" if words[:1] and words[0] in _OF_ENVIRONMENTS else ""
    return _KINDS.get(metavar, "")


def _bash(tree: Sequence[Completed], *, is_zsh: bool) -> str:
    cases = []
    for command in tree:
        options = " ".join(option for spellings in command.options for option in spellings)
        # One word for each option that takes a value: "--base:directory"; the words of a choice are divided by commas.
        valued = " ".join(
            f"{option}:{kind.replace(' ', ',')}"
            for spellings, (kind, _) in command.options.items()
            if kind is not None
            for option in spellings
        )
        kinds = " ".join(kind.replace(" ", ",") or "-" for kind in command.kinds)
        values = {"commands": " ".join(command.commands), "options": options, "valued": valued, "kinds": kinds}
        assignments = " ".join(f"{key}={shlex.quote(value)}" for key, value in values.items())
        cases.append(
            f"    {shlex.quote(' '.join(command.words))}) {assignments} endless={'1' if command.endless else ''} ;;"
        )
    head = (
        "#compdef colab-env\nautoload -Uz compinit bashcompinit\n(( $+functions[compdef] )) || compinit\nbashcompinit\n"
    )
    return f"{head if is_zsh else ''}{_BASH.replace('CASES', chr(10).join(cases))}"


def _fish(tree: Sequence[Completed]) -> str:
    paths = " ".join(shlex.quote(" ".join(command.words)) for command in tree if command.words)
    valued = " ".join(
        shlex.quote(" ".join((*command.words, option)))
        for command in tree
        for spellings, (kind, _) in command.options.items()
        if kind is not None
        for option in spellings
    )
    lines = [_FISH.replace("PATHS", paths).replace("VALUED", valued).rstrip()]
    for command in tree:
        at = f"__colab_env_at {shlex.quote(' '.join(command.words))}"
        for name, text in command.commands.items():
            lines.append(f"complete -c colab-env -n {_quoted(f'{at} 0')} -a {name} -d {_quoted(text)}")
        for spellings, (kind, text) in command.options.items():
            names = " ".join(f"-l {word[2:]}" if word.startswith("--") else f"-s {word[1:]}" for word in spellings)
            value = "" if kind is None else f" -r {_fish_values(kind)}"
            lines.append(f"complete -c colab-env -n {_quoted(at)} {names}{value} -d {_quoted(text)}")
        for number, kind in enumerate(command.kinds):
            is_last = number == len(command.kinds) - 1 and command.endless
            where = f"{at} {number}{' more' if is_last else ''}"
            lines.append(f"complete -c colab-env -n {_quoted(where)} {_fish_values(kind)}")
    return "\n".join(lines) + "\n"


def _fish_values(kind: str) -> str:
    if kind.startswith("="):
        return f"-a {_quoted(kind[1:])}"
    questions = {
        "environment": "(colab-env --complete (__colab_env_base) environments)",
        "program": "(colab-env --complete (__colab_env_base) programs (__colab_env_name))",
        "directory": "(__fish_complete_directories)",
        "user": "(__fish_complete_users)",
    }
    return "-F" if kind == "file" else f"-a {_quoted(questions[kind])}" if kind in questions else ""


def _quoted(text: str) -> str:
    inside = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{inside}'"


_BASH = r"""# Completion for colab-env. bash: . <(colab-env completion bash); zsh: . <(colab-env completion zsh)
_colab_env_table() {
    case $1 in
CASES
    *) commands='' options='' valued='' kinds='' endless='' ;;
    esac
}

_colab_env() {
    local cur=${COMP_WORDS[COMP_CWORD]} words='' base='' name='' option='' position=0 kind='' i=1 word each found
    local commands options valued kinds endless
    COMPREPLY=()
    _colab_env_table ''
    while [ "$i" -lt "$COMP_CWORD" ]; do
        word=${COMP_WORDS[i]} i=$((i + 1))
        if [ -n "$option" ]; then
            [ "$option" != --base ] || base=$word
            option=''
            continue
        fi
        case " $valued" in *" $word:"*) option=$word; continue ;; esac
        case $word in -*) [ "$position" -gt 1 ] || continue ;; esac
        case " $commands " in
        *" $word "*)
            words="${words:+$words }$word"
            _colab_env_table "$words"
            ;;
        *)
            [ "$position" -gt 0 ] || name=$word
            position=$((position + 1))
            ;;
        esac
    done
    if [ -n "$option" ]; then
        kind=" $valued "
        kind=${kind#*" $option:"}
        kind=${kind%% *}
    else
        i=0
        for each in $(printf '%s\n' "$kinds"); do
            if [ "$i" -eq "$position" ] || { [ -n "$endless" ] && [ "$i" -lt "$position" ]; }; then kind=$each; fi
            i=$((i + 1))
        done
        case $cur in
        -*) kind="=$options" ;;
        *) [ "$position" -gt 0 ] || [ -z "$commands" ] || kind="=$commands" ;;
        esac
    fi
    case $kind in
    environment) found=$(colab-env --complete "$base" environments 2>/dev/null) ;;
    program) found=$(colab-env --complete "$base" programs "$name" 2>/dev/null) ;;
    =*) found=$(printf '%s' "${kind#=}" | tr ',' ' ') ;;
    file | directory | user)
        type compopt >/dev/null 2>&1 && [ "$kind" != user ] && compopt -o filenames 2>/dev/null
        case $kind in file) word=-f ;; directory) word=-d ;; user) word=-u ;; esac
        while IFS= read -r each; do COMPREPLY+=("$each"); done < <(compgen "$word" -- "$cur")
        return
        ;;
    *) return ;;
    esac
    while IFS= read -r each; do COMPREPLY+=("$each"); done < <(compgen -W "$found" -- "$cur")
}

complete -F _colab_env colab-env
"""
_FISH = r"""# Completion for colab-env. Save it as ~/.config/fish/completions/colab-env.fish
set -g __colab_env_paths PATHS
set -g __colab_env_valued VALUED

function __colab_env_words # sets, in the caller's names, what the line has so far
    set -g __colab_env_path
    set -g __colab_env_position 0
    set -g __colab_env_first ''
    set -g __colab_env_bases ''
    set -l option ''
    for word in (commandline -opc)[2..]
        if test -n "$option"
            test "$option" = --base; and set -g __colab_env_bases $word
            set option ''
            continue
        end
        if contains -- (string join ' ' -- $__colab_env_path $word) $__colab_env_valued
            set option $word
        else if string match -q -- '-*' $word
            continue
        else if contains -- (string join ' ' -- $__colab_env_path $word) $__colab_env_paths
            set -g -a __colab_env_path $word
        else
            test $__colab_env_position -gt 0; or set -g __colab_env_first $word
            set -g __colab_env_position (math $__colab_env_position + 1)
        end
    end
end

function __colab_env_at # PATH [POSITION [more]]
    __colab_env_words
    test "$argv[1]" = "$__colab_env_path"; or return 1
    test (count $argv) -lt 2; and return 0
    test $__colab_env_position -eq $argv[2]; and return 0
    test (count $argv) -gt 2; and test $__colab_env_position -gt $argv[2]
end

function __colab_env_base
    __colab_env_words
    echo "$__colab_env_bases"
end

function __colab_env_name
    __colab_env_words
    echo "$__colab_env_first"
end

complete -c colab-env -f
"""
