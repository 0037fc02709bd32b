#!/usr/bin/env bash
# Makes requirements/*.txt: versions and hashes of what CI installs, without any index address.
#
# usage: scripts/lock.sh PYTHON
#   PYTHON  an interpreter that has pip-tools; the oldest Python supported, so that nothing is
#           locked that it cannot install
set -euo pipefail
cd "$(dirname "$0")/.."

python=$1
# Shown in each file's head instead of a command line with this machine's paths.
export CUSTOM_COMPILE_COMMAND="make lock"

compile() {
    local target=$1
    shift
    "$python" -m piptools compile --quiet --upgrade --generate-hashes --strip-extras \
        --allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
        --no-emit-options --annotation-style=line --output-file "requirements/$target" "$@"
}

compile pip.txt requirements/pip.in
compile runtime.txt pyproject.toml requirements/runtime.in
compile ci.txt pyproject.toml requirements/ci.in
compile bench.txt pyproject.toml requirements/bench.in
compile frameworks.txt pyproject.toml requirements/frameworks.in
compile app.txt pyproject.toml requirements/app.in
compile native.txt requirements/native.in
compile release.txt requirements/release.in
compile docs.txt pyproject.toml requirements/docs.in
compile localstack.txt requirements/localstack.in
for matrix in sqlalchemy-2.0.25 sqlalchemy-2.0.31 sqlalchemy-2.0; do
    compile "$matrix.txt" "requirements/$matrix.in"
done
