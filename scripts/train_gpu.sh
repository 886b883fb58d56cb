#!/usr/bin/env bash
# Train a network on a machine with a GPU, in calls of at most ten minutes; the same call again goes on.
#
#   here, once:   python scripts/pack_anatomy.py STATE
#   there:        bash scripts/train_gpu.sh STATE NETWORK [options of scripts/train_gpu.py]
#
# STATE (under work_out/, which git ignores) goes to that machine and comes back: checkpoint, tables and weights, some
# tens of MB. Training data stay there, in the folder SLABS (default: work_out/slabs), and are made anew where absent.
set -euo pipefail
cd "$(dirname "$0")/.."
state=${1:?folder of the training}
network=${2:?joint or cascade}
shift 2
export PYTHONPATH=src PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
exec "${PYTHON:-python3}" scripts/train_gpu.py "$state" --slabs "${SLABS:-work_out/slabs}" --network "$network" "$@"
