#!/bin/sh
# Sets up what is missing and runs every check; `./test-all-services.sh unit lint` runs only those stages.
# Stages: lint types imports unit contract integration migration acceptance docs health
set -u
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
cd "$root" || exit 1
. "$root/tools/environment.sh"

all="lint types imports unit contract integration migration acceptance docs health"
for stage in "$@"; do
    case " $all " in
    *" $stage "*) ;;
    *)
        say "There is no stage $stage. Stages: $all"
        exit 2
        ;;
    esac
done
prepare_environment dev || exit 1
unset PYTHONSAFEPATH # the tests are a package of this folder

bin="$root/.venv/bin"
cache="$root/.cache"
failed=""
started=$(date +%s)
# One worker more than there are processors keeps them busy while tests wait for servers.
workers=$(($("$bin/python" -c 'import os; print(os.cpu_count() or 1)') + 1))

# run NAME COMMAND...: runs it under a heading and notes a failure; the checks after it run all the same.
run() {
    name=$1
    shift
    stage_started=$(date +%s)
    printf '\n== %s\n' "$name"
    if "$@"; then
        printf -- '-- %s passed in %s s\n' "$name" "$(($(date +%s) - stage_started))"
    else
        printf -- '-- %s FAILED after %s s\n' "$name" "$(($(date +%s) - stage_started))"
        failed=$(printf '%s\n  %s\n%s' "$failed" "$name" "$(failed_tests "$name")")
    fi
}

# run_tests STAGE: pytest on the stage's folder, where there is one. Its cache is its own, to read the failures from.
run_tests() {
    [ -d "$root/tests/$1" ] || return 0
    rm -rf "$cache/pytest-$1"
    run "$1" "$bin/python" -m pytest "tests/$1" -q -n "$workers" --dist loadfile -o cache_dir="$cache/pytest-$1"
}

failed_tests() {
    # pytest keeps them as JSON, one `"path::test": true` a line.
    sed -n 's/^  "\(.*\)": true,\{0,1\}$/    \1/p' "$cache/pytest-$1/v/cache/lastfailed" 2>/dev/null
}

# The npm clients lie in the cache folder, so that the checkout stays clean and a locked version is fetched once.
install_clients() {
    source="$root/tests/acceptance/clients"
    clients="$cache/clients"
    wanted=$(cat "$source/package.json" "$source/package-lock.json" | cksum)
    if [ "$(cat "$clients/.stamp" 2>/dev/null)" != "$wanted" ]; then
        mkdir -p "$clients" && cp "$source/package.json" "$source/package-lock.json" "$clients/" || return 1
        (cd "$clients" && npm ci --no-audit --no-fund --no-update-notifier) || return 1
        printf '%s\n' "$wanted" >"$clients/.stamp"
    fi
}

for stage in ${*:-$all}; do
    case $stage in
    lint)
        run "ruff check" "$bin/ruff" check .
        run "ruff format" "$bin/ruff" format --check .
        ;;
    types) run "types" "$bin/mypy" ;;
    imports) run "imports" "$bin/lint-imports" --no-logo ;;
    acceptance)
        if command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1; then
            run "npm clients" install_clients
            PYAT_TEST_NODE_MODULES="$cache/clients/node_modules"
            export PYAT_TEST_NODE_MODULES
        else
            say "Node and npm are not installed: the tests with airtable.js are skipped."
        fi
        run_tests acceptance
        ;;
    health) run "health of every service, in one process and in many" "$bin/python" -m tests.acceptance.health ;;
    *) run_tests "$stage" ;;
    esac
done

printf '\n%s s in all. ' "$(($(date +%s) - started))"
if [ -n "$failed" ]; then
    printf 'Failed:%s\n' "$failed"
    exit 1
fi
printf 'Every check passed.\n'
