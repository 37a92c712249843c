#!/bin/sh
# Make .venv and install what requirements.lock pins and the project itself; with the argument `dev` what
# requirements-dev.lock pins too (tests, linters). If that is done already, do nothing.
# PYTHON names the interpreter to make it with (default: python3).
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3}
stamp=.venv/installed # what the packages were installed for, as are those for the project itself and for developers
project_stamp=.venv/installed-project
dev_stamp=.venv/installed-dev

fail() {
    echo "error: $1" >&2
    exit 1
}

# Whether a stamp says this of an environment that is there
stamped() {
    [ -f "$1" ] && [ "$(cat "$1")" = "$2" ] && [ -x .venv/bin/python ]
}

# `python -m pip`, since the start line of the `pip` script breaks in paths with spaces. Python compiles a module when it
# is first imported: of 15,000 in .venv it never needs 12,000, so pip compiles none, which took it a minute.
install() {
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile "$@" > .venv/install.log 2>&1 && return
    tail -n 5 .venv/install.log >&2
    return 1
}

install_lock() {
    install -r "$1" ||
        fail "installing $1 failed: check the connection to the package index (proxy?) and the disk, then run make again"
}

wanted="$(cat requirements.lock environment.sh | cksum) $python $(pwd -P)"
if ! stamped "$stamp" "$wanted"; then
    command -v "$python" >/dev/null 2>&1 || fail "$python not found: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$("$python" --version 2>&1) is too old: Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python has no venv module: install it (on Debian and Ubuntu: apt install python3-venv)"
    command -v git >/dev/null 2>&1 || fail "git not found: install git"

    echo "setting up .venv (a minute or two, only this once)"
    rm -f "$stamp" "$project_stamp" "$dev_stamp"
    "$python" -m venv --clear .venv || fail "the environment could not be made in $PWD/.venv: see the lines above"
    # Python's own pip may be old, and takes three times as long to choose from the index; where no new one is had, it does.
    install --retries 0 "$(grep '^pip==' requirements-dev.lock)" 2> /dev/null || true
    install_lock requirements.lock
    echo "$wanted" > "$stamp"
fi

project="$(cksum < pyproject.toml)"
if ! stamped "$project_stamp" "$project"; then
    install --no-deps --no-build-isolation --editable . || fail "installing the project itself failed: see the lines above"
    echo "$project" > "$project_stamp"
fi

if [ "${1:-}" = dev ]; then
    wanted="$(cksum < requirements-dev.lock)"
    stamped "$dev_stamp" "$wanted" && exit 0
    echo "adding what tests and linters need to .venv (only this once)"
    install_lock requirements-dev.lock
    # Tests start many processes that write no compiled modules
    .venv/bin/python -m compileall -qq -j 0 .venv/lib || true
    echo "$wanted" > "$dev_stamp"
fi
