#!/bin/sh
# Writes requirements/*.lock anew from pyproject.toml: names, versions and hashes for every platform, no addresses.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$root"
uv="${UV:-$root/.venv/bin/uv}"
options="--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet"
# shellcheck disable=SC2086 # the options are words
"$uv" pip compile $options "$@" pyproject.toml --output-file requirements/runtime.lock
# shellcheck disable=SC2086
"$uv" pip compile $options "$@" pyproject.toml --group dev --constraint requirements/runtime.lock --output-file requirements/dev.lock
grep -l '://' requirements/*.lock && { echo "A lock file carries an address." >&2; exit 1; }
exit 0
