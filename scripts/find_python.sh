#!/bin/sh
# Prints the newest Python on the path that encfields is tested on (3.11 to 3.15); where there is
# none, the newest of those that no path names: what pyenv and uv keep to themselves, and what is
# below /usr/local and /opt. With --all it prints one of each version, wherever it is.
# Set PYTHON to choose another one.
newest_first="python3.15 python3.14 python3.13 python3.12 python3.11"

# Asked rather than trusted: version managers leave a name for each version that fails.
version_of() {
    "$1" -c 'import sys
sys.exit(not (3, 11) <= sys.version_info < (3, 16) or print("%d.%d" % sys.version_info[:2]))' \
        2>/dev/null
}

# The managers tell where they keep theirs, or it is where they do unless told otherwise.
pyenv=$(pyenv root 2>/dev/null) || pyenv=${PYENV_ROOT:-$HOME/.pyenv}
uv=$(uv python dir 2>/dev/null) || uv=${UV_PYTHON_INSTALL_DIR:-$HOME/.local/share/uv/python}

# Of one name, all that no path need lead to; a pattern that nothing matches stays as it is.
kept() {
    printf '%s\n' "$pyenv"/versions/*/bin/"$1" "$uv"/*/bin/"$1" \
        /usr/local/bin/"$1" /usr/local/*/bin/"$1" /usr/local/opt/*/bin/"$1" \
        /opt/bin/"$1" /opt/*/bin/"$1" /opt/*/*/bin/"$1"
}

# One of each version; only the first of all where "$1" is 1.
print_found() {
    seen=
    for name in $newest_first; do
        while IFS= read -r candidate; do
            version=$(version_of "$candidate") || continue
            case " $seen " in *" $version "*) continue ;; esac
            seen="$seen $version"
            command -v "$candidate"
            [ "$1" != 1 ] || return 0
        done <<CANDIDATES
$name
$(kept "$name")
CANDIDATES
    done
    [ -n "$seen" ]
}

if [ "${1:-}" = --all ]; then
    print_found all && exit 0
fi

candidates="${PYTHON:-$newest_first python3 python}"
for candidate in $candidates; do
    if version_of "$candidate" >/dev/null; then
        command -v "$candidate"
        exit 0
    fi
done
[ -n "${PYTHON:-}" ] || ! print_found 1 || exit 0

echo "encfields needs Python 3.11 to 3.15, and found none of it as: $candidates." >&2
echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it:" >&2
echo "    make PYTHON=/path/to/python3.12 ..." >&2
exit 1
