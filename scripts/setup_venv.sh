# Sourced by run_all.sh and tests/run.sh: makes .venv and installs this project into it, once for each change of its
# requirements. PYTHON chooses the interpreter; any from 3.10 on will do.
set -euo pipefail

if ! "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "error: this project needs Python 3.10 or newer; name one with PYTHON=python3.12 bash $0" >&2
    exit 2
fi
if [ ! -x .venv/bin/python ] && ! "${PYTHON:-python3}" -m venv .venv; then
    echo "error: no virtual environment could be made; on Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 2
fi
wanted=$(cat setup.cfg pyproject.toml constraints.txt | cksum)
if [ "$(cat .venv/installed 2>/dev/null)" != "$wanted" ]; then
    echo "installing into .venv (PyTorch is large: some minutes)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
    echo "$wanted" > .venv/installed
fi
export PATH="$PWD/.venv/bin:$PATH"
