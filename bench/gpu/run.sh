#!/usr/bin/env bash
# bench/gpu/run.sh engine|table|evidence|summary [options]: what each measures is in docs/results/gpu/README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" bench/gpu/run.py "$@"
