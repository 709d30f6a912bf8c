# Every command of the project; `just` alone lists them.

# List the commands
default:
    @just --list

# Set up if needed and run every service
up *arguments:
    ./start-all-services.sh {{arguments}}

# Run one service in this process
serve name *arguments:
    .venv/bin/pyat serve {{name}} {{arguments}}

# Run every check, or the stages named
check *stages:
    ./test-all-services.sh {{stages}}

# Run tests at a path
test *path:
    .venv/bin/python -m pytest {{path}}

# Format and mend what can be mended
format:
    .venv/bin/ruff check --fix .
    .venv/bin/ruff format .

# Write the lock files anew
lock *arguments:
    tools/lock.sh {{arguments}}
