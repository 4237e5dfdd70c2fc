#!/bin/sh
# A STAND-IN for the Miniconda installer (tests of colab_env); not the real one, and not derived from its text.
# NAME:  Miniconda3
# MD5:   @MD5@
set -eu
unset LD_LIBRARY_PATH

case "$0" in
    *.sh) ;;
    *) echo 'Start this with bash, under a name that ends in .sh' >&2; exit 1 ;;
esac

PREFIX=$HOME/miniconda3
BATCH=0
FORCE=0
while getopts "bfhkp:sut" option; do
    case $option in
        h) echo "usage: $0 [-b] [-f] [-h] [-p PREFIX] [-u]"; exit 2 ;;
        b) BATCH=1 ;;
        f | u) FORCE=1 ;;
        p) PREFIX=$OPTARG ;;
        k | s | t) ;;
        *) echo "ERROR: unknown option, try -h"; exit 1 ;;
    esac
done
[ "$BATCH" = 1 ] || { echo "the stand-in only runs with -b" >&2; exit 2; }

case $PREFIX in
    *\ *) echo "ERROR: Cannot install into directories with spaces" >&2; exit 1 ;;
esac
if [ "$FORCE" = 0 ] && [ -e "$PREFIX" ]; then
    echo "ERROR: File or directory already exists: '$PREFIX'" >&2
    exit 1
fi
if ! mkdir -p "$PREFIX"; then
    echo "ERROR: Could not create directory: '$PREFIX'." >&2
    exit 1
fi
free_mb=${INSTALLER_STANDIN_FREE_MB:-$(df -Pm "$PREFIX" | awk 'END {print $4}')}
if [ "$free_mb" -lt 358 ]; then
    echo "ERROR: Not enough free disk space. Only $free_mb MB are available, but 358 MB are required" >&2
    exit 1
fi
PREFIX=$(cd "$PREFIX" && pwd)
echo "PREFIX=$PREFIX"
[ -z "${PYTHONPATH:-}" ] || echo "WARNING: You currently have a PYTHONPATH environment variable set." >&2

begin=$(awk '/^@@END_HEADER@@$/ {print NR + 1; exit}' "$0")
if [ "$(tail -n +"$begin" "$0" | md5sum | cut -d' ' -f1)" != "@MD5@" ]; then
    echo "WARNING: md5sum mismatch of tar archive" >&2
fi

echo "Unpacking bootstrapper..."
tail -n +"$begin" "$0" | head -c @TOOL_SIZE@ > "$PREFIX/_conda"
chmod +x "$PREFIX/_conda"
"$PREFIX/_conda" check || exit $?

echo "Unpacking payload..."
tail -n +"$begin" "$0" | tail -c +@PAYLOAD_START@ | "$PREFIX/_conda" extract "$PREFIX" || exit 1

printf '\nInstalling base environment...\n\n'
"$PREFIX/_conda" link "$PREFIX" || exit 1
echo "installation finished."
exit 0
@@END_HEADER@@
