# Sourced by start-all-services.sh and test-all-services.sh: a virtual environment with locked, hash-checked packages.
# Works in dash and in bash 3.2 (macOS). Needs `root`, the folder of the checkout.

say() { printf '%s\n' "$*" >&2; }

# Another environment's settings must not reach into ours, nor a random.py of the folder one happens to stand in.
unset PYTHONHOME PYTHONPATH PIP_USER PIP_TARGET PIP_PREFIX
PYTHONSAFEPATH=1
export PYTHONSAFEPATH

# Prints the first Python that is new enough and can make virtual environments; says what to do when there is none.
find_python() {
    without_venv=""
    for name in "${PYAT_PYTHON:-}" python3.13 python3.12 python3.11 python3 python3.14; do
        # A version manager's python3.13 may exist and yet not run, so each is asked.
        if [ -n "$name" ] && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            if "$name" -c 'import ensurepip, venv' >/dev/null 2>&1; then
                printf '%s\n' "$name"
                return 0
            fi
            without_venv=${without_venv:-$name}
        fi
    done
    if [ -n "$without_venv" ]; then
        say "$("$without_venv" --version) cannot make virtual environments here. On Debian and Ubuntu: apt install python3-venv"
    else
        say "PyAirtable needs Python 3.11 or newer, and found none."
        say "Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python. Or name one in PYAT_PYTHON."
    fi
    return 1
}

# prepare_environment NAME: makes .venv hold what requirements/NAME.lock says. Does nothing where it already does.
prepare_environment() {
    venv="$root/.venv"
    stamp="$venv/.pyat-$1"
    wanted=$(cksum <"$root/requirements/$1.lock") || return 1
    # The import fails where Python itself was upgraded and where the checkout was moved.
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && [ "$(cat "$venv/.pyat-place" 2>/dev/null)" = "$venv" ] &&
        "$venv/bin/python" -I -c 'import pyat' 2>/dev/null; then
        return 0
    fi
    # Without a place noted in it, the environment is half-made or not ours to use.
    if ! [ -f "$venv/.pyat-place" ] || ! "$venv/bin/python" -I -m pip --version >/dev/null 2>&1; then
        python=$(find_python) || return 1
        say "Making a virtual environment with $("$python" --version) …"
        rm -rf "$venv"
        if ! said=$("$python" -m venv "$venv" 2>&1); then
            rm -rf "$venv"
            say "$said"
            say "Python could not make the folder .venv; the lines above say why."
            return 1
        fi
    fi
    "$venv/bin/python" -I "$root/tools/place_environment.py" "$root" || return 1
    [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
    say "Installing the packages of requirements/$1.lock (once; about a minute) …"
    rm -f "$venv/.pyat-runtime" "$venv/.pyat-dev"
    "$venv/bin/python" -I -m pip install --quiet --disable-pip-version-check --no-input --require-hashes \
        --only-binary :all: --requirement "$root/requirements/$1.lock" || {
        say "The packages could not be installed; the lines above say why. Is the package index reachable from here?"
        return 1
    }
    "$venv/bin/python" -m compileall -q "$root/src" >/dev/null 2>&1 || true
    # The larger environment serves the smaller one's purpose too.
    [ "$1" != dev ] || cksum <"$root/requirements/runtime.lock" >"$venv/.pyat-runtime"
    printf '%s\n' "$wanted" >"$stamp"
}
