#!/bin/sh
# Make .venv and install what requirements.lock pins and the project itself; if that is done already, do nothing.
# PYTHON names the interpreter to make it with (default: python3).
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3}
stamp=.venv/installed

fail() {
    echo "error: $1" >&2
    exit 1
}

wanted="$(cat requirements.lock pyproject.toml environment.sh | cksum) $python $(pwd -P)"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && [ -x .venv/bin/python ]; then
    exit 0
fi

command -v "$python" >/dev/null 2>&1 || fail "$python not found: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version 2>&1) is too old: Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python has no venv module: install it (on Debian and Ubuntu: apt install python3-venv)"
command -v git >/dev/null 2>&1 || fail "git not found: install git"

echo "setting up .venv (a minute or two, only this once)"
rm -f "$stamp"
"$python" -m venv --clear .venv || fail "the environment could not be made in $PWD/.venv: see the lines above"
# `python -m pip`, since the start line of the `pip` script breaks in paths with spaces
install() {
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@" > .venv/install.log 2>&1 && return
    tail -n 5 .venv/install.log >&2
    return 1
}
install -r requirements.lock ||
    fail "installing requirements.lock failed: check the connection to the package index (proxy?) and the disk, then run make again"
install --no-deps --no-build-isolation --editable . || fail "installing the project itself failed: see the lines above"
echo "$wanted" > "$stamp"
