#!/usr/bin/env bash
# Entry of QSM-CI: runs the stage that algorithm.yml beside it declares.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
stage="$(sed -n 's/^stage: *\([a-z+-]*\).*$/\1/p' "$here/algorithm.yml")"
exec dlqsm qsm-ci "${1:-/input}" "${2:-/output}" --stage "$stage" --overwrite
