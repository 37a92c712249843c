#!/bin/sh
# Resolve pyproject.toml anew into requirements.lock, what results are made with, and requirements-dev.lock, the same and
# what tests and linters need. Pins that still fit stay. Needs pip-compile on PATH: `make lock`.
set -eu
cd "$(dirname "$0")"
trap 'rm -f .lock.tmp' EXIT

# Resolve into the lock file named first, under the comment given second; what follows goes to pip-compile.
resolve() {
    lock=$1 comment=$2
    shift 2
    pip-compile --quiet --strip-extras --allow-unsafe --no-header --no-emit-index-url --no-emit-trusted-host \
        --no-emit-find-links --output-file "$lock" "$@" pyproject.toml
    { echo "$comment" && echo && sed 's/^\(torch==[0-9.]*\)+[a-z0-9.]*/\1/' "$lock"; } > .lock.tmp
    mv .lock.tmp "$lock"
}

resolve requirements.lock "# Every package that results are made with, pinned; made by \`make lock\` from pyproject.toml. torch stands without a local
# suffix, so that it is the CPU or the CUDA build, whichever the package index has for the machine."
resolve requirements-dev.lock "# The packages of requirements.lock and those that tests and linters need, pinned; made by \`make lock\`." \
    --extra dev --constraint requirements.lock
