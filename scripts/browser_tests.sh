#!/bin/sh
# Opens the pages in Chromium: installs Debian's package and Playwright where they are missing, then runs tests/browser.
# PYTHON: the Python that dlqsm is installed in. DLQSM_CHROMIUM: a Chromium of your own.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

if [ -z "${DLQSM_CHROMIUM:-}" ] && ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null; then
    if ! command -v apt-get >/dev/null; then
        echo "Chromium is missing and there is no apt-get: install it, or name one with DLQSM_CHROMIUM" >&2
        exit 2
    fi
    as_root apt-get update
    as_root apt-get install --yes --no-install-recommends chromium fonts-dejavu-core
fi
# The Python package alone: its own browsers are not needed.
"$PYTHON" -c 'import playwright' 2>/dev/null || "$PYTHON" -m pip install --quiet --disable-pip-version-check 'playwright>=1.49'
OMP_WAIT_POLICY=PASSIVE exec "$PYTHON" -m pytest tests/browser "$@"
