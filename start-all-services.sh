#!/bin/sh
# Sets up what is missing and runs PyAirtable: every service, with PostgreSQL and Valkey. Arguments go to `pyat up`.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
. "$root/tools/environment.sh"
prepare_environment runtime
exec "$root/.venv/bin/python" -m pyat up "$@"
