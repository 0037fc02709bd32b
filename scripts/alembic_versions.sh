#!/bin/sh
# Runs the tests of the Alembic support on older releases of Alembic, beside the installed one:
#
#     .venv/bin/python -m tests.servers -- scripts/alembic_versions.sh .venv/bin/python
#
# Usage: alembic_versions.sh PYTHON [RELEASE...]
set -eu
python=$1
shift
[ $# -gt 0 ] || set -- 1.17.0 1.18.0 1.18.4 1.19.2 1.20.0
for release in "$@"; do
    directory=.venvs/alembic-$release
    [ -d "$directory/alembic" ] ||
        "$python" -m pip install --quiet --no-deps --target "$directory" "alembic==$release"
    echo "Alembic $release"
    PYTHONPATH=$PWD/$directory "$python" -c \
        "import alembic, sys; sys.exit(alembic.__version__ != '$release')"
    PYTHONPATH=$PWD/$directory "$python" -m pytest -q -n 2 --dist loadfile \
        tests/alembic tests/migrations tests/leaks/test_alembic.py
done
