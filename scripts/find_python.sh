#!/bin/sh
# Prints the newest Python that encfields is tested on (3.11 to 3.15) and that this machine has;
# with --all one of each version, also those that pyenv and uv keep to themselves.
# Set PYTHON to choose another one.
newest_first="python3.15 python3.14 python3.13 python3.12 python3.11"

# Asked rather than trusted: version managers leave a name for each version that fails.
version_of() {
    "$1" -c 'import sys
sys.exit(not (3, 11) <= sys.version_info < (3, 16) or print("%d.%d" % sys.version_info[:2]))' \
        2>/dev/null
}

kept="${PYENV_ROOT:-$HOME/.pyenv}/versions ${UV_PYTHON_INSTALL_DIR:-$HOME/.local/share/uv/python}"

print_all() {
    seen=
    for name in $newest_first; do
        set --
        for folder in $kept; do
            set -- "$@" "$folder"/*/bin/"$name"
        done
        for candidate in "$name" "$@"; do
            version=$(version_of "$candidate") || continue
            case " $seen " in *" $version "*) continue ;; esac
            seen="$seen $version"
            command -v "$candidate"
        done
    done
    [ -n "$seen" ]
}

if [ "${1:-}" = --all ]; then
    shift
    print_all && exit 0
fi

candidates="${PYTHON:-$newest_first python3 python}"
for candidate in $candidates; do
    if version_of "$candidate" >/dev/null; then
        command -v "$candidate"
        exit 0
    fi
done

echo "encfields needs Python 3.11 to 3.15, and found none of it as: $candidates." >&2
echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it:" >&2
echo "    make PYTHON=/path/to/python3.12 ..." >&2
exit 1
