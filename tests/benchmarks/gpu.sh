#!/usr/bin/env bash
# The GPU columns of this folder's README, in under six minutes:
#
#     tests/benchmarks/gpu.sh PHOTOS [MOBILENET_V2.PTH]
#
# PHOTOS is a folder of JPEG files. Without weights the networks are untrained, which takes the same time.
set -euo pipefail
photos=$1 weights=${2:-none} python=${PYTHON:-python3}
cd "$(dirname "$0")/../.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
for refine in none affinity; do
  "$python" tests/benchmarks/localize.py "$photos" --local-weights "$weights" --device cuda --refine "$refine" \
    --images "${IMAGES:-8000}" --plain 200 --pairs 2
  "$python" tests/benchmarks/localize.py "$photos" --weights resnet50 --local-weights none --image-size 448 \
    --device cuda --refine "$refine" --images "${IMAGES:-8000}" --plain 200 --pairs 2
done
"$python" tests/benchmarks/poolings.py --device cuda --pairs 3 || echo "a pooling is slower on the device"
