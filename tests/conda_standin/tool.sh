#!/bin/sh
# A STAND-IN for the `_conda` program inside an installer: unpacks and "links" (tests of colab_env).
fault() { [ "${INSTALLER_STANDIN_FAULT:-}" = "$1" ]; }
[ "$(tail -n 1 "$0")" = "# end of the tool" ] || exit 255
case $1 in
    check) ;;
    extract)
        cd "$2" || exit 1
        mkdir -p pkgs
        ! fault no-space || { echo "tar: write error: No space left on device" >&2; exit 1; }
        tar -xf - || exit 1
        ! fault busy || { echo "sh: bin/python3: Text file busy" >&2; exit 1; }
        ! fault half || { echo "half installed" >&2; : > "${INSTALLER_STANDIN_MARK:-/dev/null}"; exec sleep 60; }
        ! fault crash || exit 1
        ;;
    link)
        # As conda does: what stands at an entry point is truncated in place, links are followed.
        for entry in pip conda; do
            cat "$2/pkgs/entry_points/$entry" > "$2/bin/$entry"
            sed -i "1s|.*|#!$2/bin/python|" "$2/bin/$entry"
            chmod 755 "$2/bin/$entry"
        done
        mkdir -p "$2/condabin" "$2/envs"
        cp "$2/bin/conda" "$2/condabin/conda"
        : >> "$2/conda-meta/history"
        ;;
esac
exit 0
# end of the tool
