#!/bin/sh
# Prints the newest Python that encfields is tested on (3.11 to 3.15) and that this machine has.
# Set PYTHON to choose another one.
candidates="${PYTHON:-python3.15 python3.14 python3.13 python3.12 python3.11 python3 python}"

for candidate in $candidates; do
    # Asked rather than trusted: version managers leave a name for each version that fails.
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 16))' \
        2>/dev/null; then
        command -v "$candidate"
        exit 0
    fi
done

echo "encfields needs Python 3.11 to 3.15, and found none of it as: $candidates." >&2
echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it:" >&2
echo "    make PYTHON=/path/to/python3.12 ..." >&2
exit 1
