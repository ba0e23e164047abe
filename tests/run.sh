#!/usr/bin/env bash
# The tests, from a fresh clone: bash tests/run.sh [pytest arguments]
cd "$(dirname "$0")/.."
source scripts/setup_venv.sh
ruff check .
ruff format --check .
python -m pytest -n 2 --dist loadfile "$@"
