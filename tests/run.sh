#!/usr/bin/env bash
# The tests, from a fresh clone: bash tests/run.sh [pytest arguments]
cd "$(dirname "$0")/.."
source scripts/setup_venv.sh
ruff check .
ruff format --check .
# In the order of the files: those that start processes come first, not last, where one core would wait for the other.
python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
