#!/bin/sh
# colab-env: `run` and `which` here, because they stand in shebangs, units and cron lines; everything else in Python.
# What is not plain goes to Python too, which also has the words for what is wrong. Variables are named _ce_*: another
# name could be an exported one of the caller's, and the program would see it changed.

case ${1-} in
"run "*) # The kernel passes `#!/usr/bin/colab-env run NAME PROGRAM` as one argument, then the script.
    if [ -f "${2-}" ]; then
        _ce_words=$1
        shift
        set -f
        # shellcheck disable=SC2086  # split on purpose
        set -- $_ce_words "$@"
        set +f
    fi
    ;;
esac

_ce_python() {
    _ce_here=${0%/*}
    if ! [ -x "$_ce_here/colab-env-main" ]; then
        _ce_here=$(readlink -f -- "$0")
        _ce_here=${_ce_here%/*}
    fi
    # PyPI's `colab-env`, installed later, has replaced the package's first file, which would now mount Google Drive.
    for _ce_file in "$_ce_here"/../lib/python3*/*-packages/colab_env/handler.py; do
        if [ -e "$_ce_file" ] && ! grep -q _EXPORTS "${_ce_file%/*}/__init__.py"; then
            echo "colab-env: PyPI's colab-env, another project, has overwritten this one" >&2
            echo "→ pip uninstall -y colab-env colab-bootstrap && pip install colab-bootstrap" >&2
            exit 5
        fi
    done
    unset PYTHONHOME # of another Python: colab-env's own would not start
    exec "$_ce_here/colab-env-main" "$@"
}

_ce_read() { # FILE: take `base = "DIR"` or `base = ["DIR", "DIR"]`; fail on everything else
    while IFS= read -r _ce_line || [ -n "$_ce_line" ]; do
        case $_ce_line in
        '' | '#'*) continue ;;
        'keep = '*[!0-9]*) return 1 ;;
        'keep = '*) continue ;;
        'base = ["'*'"]') _ce_line=${_ce_line#'base = ["'} _ce_line=${_ce_line%'"]'} ;;
        'base = "'*'"') _ce_line=${_ce_line#'base = "'} _ce_line=${_ce_line%'"'} ;;
        *) return 1 ;;
        esac
        case $_ce_line in *:*) return 1 ;; esac
        while :; do
            case $_ce_line in
            *'", "'*) _ce_line=${_ce_line%%'", "'*}:${_ce_line#*'", "'} ;;
            *) break ;;
            esac
        done
        case $_ce_line in *[\"\\]*) return 1 ;; esac
        _ce_bases=$_ce_line
    done <"$1"
}

_ce_where() { # set _ce_bases as named_env/base_dirs.py does; fail where that takes more than a few lines
    _ce_bases=${COLAB_ENV_BASE-}
    [ -z "$_ce_bases" ] || return 0
    _ce_config=${XDG_CONFIG_HOME:-${HOME-}/.config}/colab-env.toml
    for _ce_file in /etc/colab-env.toml "$_ce_config"; do
        [ -f "$_ce_file" ] || continue
        if [ -O / ] && ! [ -O "$_ce_file" ]; then continue; fi # root reads what is root's
        _ce_read "$_ce_file" || return 1
    done
    [ -z "$_ce_bases" ] || return 0
    _ce_bases=/var/lib/python3/envs
    if ! [ -O / ]; then # not root, who owns /
        [ -n "${HOME-}" ] || return 1
        _ce_bases=${COLAB_ENV_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/colab-env}/envs:$_ce_bases
    fi
}

_ce_find() { # NAME PROGRAM: set _ce_env to the environment, and _ce_build to the directory that its name stands for now;
    # fail where there is anything to say about it
    case $1 in '' | [!A-Za-z0-9]* | *[!A-Za-z0-9._-]*) return 1 ;; esac
    case $2 in '' | */*) return 1 ;; esac
    [ -n "$_ce_bases" ] || _ce_where || return 1
    while [ -n "$_ce_bases" ]; do
        _ce_env=${_ce_bases%%:*}
        case $_ce_env in /*[!/]) ;; *) return 1 ;; esac
        _ce_env=$_ce_env/$1
        if [ -f "$_ce_env/colab-env.json" ]; then
            _ce_build=$_ce_env
            if [ -L "$_ce_env" ]; then # read once: the name may stand for another build a moment later
                [ -f "$_ce_env/colab-env-build" ] || return 1
                _ce_made=''
                { read -r _ce_build && IFS= read -r _ce_made; } <"$_ce_env/colab-env-build"
                _ce_build=${_ce_env%/*}/.builds/$1/$_ce_build
                # Where it was made, which its programs say: in a copied base, they would run the original's Python.
                [ -z "$_ce_made" ] || [ "$_ce_made" = "$_ce_build" ] || [ "$_ce_made" -ef "$_ce_build" ] 2>/dev/null || return 1
            fi
            [ -x "$_ce_build/bin/python" ] && [ -f "$_ce_build/bin/$2" ] && [ -x "$_ce_build/bin/$2" ]
            return
        fi
        case $_ce_bases in *:*) _ce_bases=${_ce_bases#*:} ;; *) _ce_bases= ;; esac
    done
    return 1
}

_ce_remember() { # FILE: set _ce_name to the environment of its block, where Python has noted it and the file is as it was
    [ -n "$_ce_bases" ] || _ce_where || return 1
    case $1 in /*) _ce_file=$1 ;; *) _ce_file=$PWD/$1 ;; esac
    _ce_note='' _ce_rest=$_ce_file
    while :; do
        case $_ce_rest in
        */*) _ce_note=$_ce_note${_ce_rest%%/*}% _ce_rest=${_ce_rest#*/} ;;
        *) break ;;
        esac
    done
    _ce_note=${_ce_bases%%:*}/.scripts/$_ce_note$_ce_rest
    [ -f "$_ce_note" ] && [ -O "$_ce_note" ] && ! [ -e "$_ce_file.lock" ] || return 1
    _ce_is_same 2>/dev/null 3<"$_ce_note" 4<"$_ce_file" # the caller's own 3 and 4 are back then
}

_ce_is_same() { # the note is open as 3, the script as 4
    read -r _ce_name <&3 && read -r _ce_said <&3 || return 1
    case $_ce_said in
    '= '*) # so many lines of the script, which is older
        [ "$_ce_note" -nt "$_ce_file" ] || return 1
        _ce_left=${_ce_said#= }
        while [ "$_ce_left" -gt 0 ]; do
            IFS= read -r _ce_said <&3 && IFS= read -r _ce_line <&4 && [ "$_ce_said" = "$_ce_line" ] || return 1
            _ce_left=$((_ce_left - 1))
        done
        return
        ;;
    esac
    [ "$_ce_said" = "$(TZ=UTC0 stat -L -c '%d %i %s %z' -- "$_ce_file" 2>/dev/null)" ]
}

_ce_complete() { # BASE environments, or BASE programs NAME: print what a shell may complete; BASE may be empty
    _ce_bases=$1
    case ${3-} in */* | .*) return ;; esac
    [ -n "$_ce_bases" ] || _ce_where || return 0
    while [ -n "$_ce_bases" ]; do
        _ce_env=${_ce_bases%%:*}
        if [ "$2" = environments ]; then
            for _ce_file in "$_ce_env"/*/colab-env.json; do
                _ce_file=${_ce_file%/*}
                [ "$_ce_file" = "$_ce_env/*" ] || printf '%s\n' "${_ce_file##*/}"
            done
        elif [ -f "$_ce_env/${3-}/colab-env.json" ]; then
            for _ce_file in "$_ce_env/${3-}/bin"/*; do
                if [ -f "$_ce_file" ] && [ -x "$_ce_file" ]; then printf '%s\n' "${_ce_file##*/}"; fi
            done
            return
        fi
        case $_ce_bases in *:*) _ce_bases=${_ce_bases#*:} ;; *) _ce_bases= ;; esac
    done
}

case ${1-} in
run | which) _ce_verb=$1 ;;
--complete)
    _ce_complete "${2-}" "${3-}" "${4-}"
    exit
    ;;
*) _ce_python "$@" ;;
esac
shift
_ce_bases='' _ce_keep='' _ce_script=''
while :; do
    case ${1-} in
    --base)
        [ $# -gt 1 ] || break
        _ce_bases=$2
        shift 2
        ;;
    --keep-pythonpath)
        [ "$_ce_verb" = run ] || break
        _ce_keep=$1
        shift
        ;;
    --script)
        [ "$_ce_verb" = run ] || break
        _ce_script=${2-}
        break
        ;;
    *) break ;;
    esac
done
_ce_base=$_ce_bases
if [ -n "$_ce_script" ] && _ce_remember "$_ce_script" && _ce_find "$_ce_name" python; then
    shift 2
    _ce_bases=$_ce_base
    set -- "$_ce_name" python "$_ce_script" "$@"
fi
_ce_find "${1-}" "${2-}" || _ce_python "$_ce_verb" ${_ce_keep:+"$_ce_keep"} ${_ce_base:+--base "$_ce_base"} "$@"

if [ "$_ce_verb" = which ]; then
    printf '%s\n' "$_ce_env/bin/$2"
    exit
fi
_ce_program=$_ce_build/bin/$2
case ${PATH-} in
"$_ce_build/bin" | "$_ce_build/bin:"*) ;;
*) export PATH="$_ce_build/bin${PATH:+:$PATH}" ;;
esac
export VIRTUAL_ENV="$_ce_build" VIRTUAL_ENV_PROMPT="$1"
unset PYTHONHOME PYTHONSTARTUP # of another Python
[ -n "$_ce_keep" ] || unset PYTHONPATH
shift 2
exec "$_ce_program" "$@"
