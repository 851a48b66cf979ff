#!/usr/bin/env bash
# The GPU figures of this folder's README, in under ten minutes:
#
#     tests/benchmarks/gpu.sh PHOTOS [MOBILENET_V2.PTH [VOC]]
#
# PHOTOS is a folder of JPEG files. Without weights the networks are untrained, which takes the same time. With VOC, a
# VOC folder, a map decoder is trained and read, too. The CAM methods want the libraries of `make peers`.
set -euo pipefail
photos=$1 weights=${2:-none} voc=${3:-} python=${PYTHON:-python3}
cd "$(dirname "$0")/../.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
localize() {
  "$python" tests/benchmarks/localize.py "$photos" --device cuda --images "${IMAGES:-8000}" --plain 200 --pairs 2 "$@"
}
for refine in none affinity; do
  localize --local-weights "$weights" --refine "$refine"
  localize --weights resnet50 --local-weights none --image-size 448 --refine "$refine"
done
if [ -n "$voc" ]; then
  runs=$(mktemp -d)
  trap 'rm -rf "$runs"' EXIT
  "$python" tests/benchmarks/decoder.py "$voc" --local-weights "$weights" --out "$runs"
  localize --weights "$runs/cuda/run" --refine decoder
fi
"$python" tests/benchmarks/train_step.py --backbone resnet50 --size 224 --batch 64
"$python" tests/benchmarks/train_step.py
"$python" tests/benchmarks/epoch_rate.py "$photos" --backbone resnet50 --size 224 --batch 64 --images 4800 --rounds 3
"$python" -c "import pytorch_grad_cam, torchcam" && "$python" tests/benchmarks/cam.py --device cuda --rounds 10
"$python" tests/benchmarks/poolings.py --device cuda --pairs 3 || echo "a pooling is slower on the device"
