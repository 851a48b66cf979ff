"""The table of CAM methods on photographs: one frozen classifier a backbone, every method on the same images.

    python tests/benchmarks/cam_table.py VOCdevkit/VOC2012 --out runs/cam \
        --local-weights mobilenet_v2=mobilenet_v2.pth timm/tf_efficientnet_lite0=tf_efficientnet_lite0.safetensors

Each backbone gets a head of global average pooling, trained on the split train (`wsl-train`, unless it is there). On
val, maps of the labelled classes are made by each method, not refined. Points are the maps' maxima. MaxBoxAcc is over
images with exactly one annotated object. Nothing is chosen on val but MaxBoxAcc's threshold, as it is defined.
"""

from __future__ import annotations

import argparse
import itertools
import shlex
import time
from pathlib import Path

from voc_table import train

import wsl
from wsl.data import read_voc
from wsl.metrics import MaxBoxAcc, PointingGame
from wsl.models import CamLocalizer, Localizer
from wsl.samples import SampleSet

METHODS = (
    "cam",
    "gradcam",
    "hirescam",
    "xgradcam",
    "gradcampp",
    "layercam",
    "layercam STAGES",
    "finercam",
    "refinecam STAGES",
    "eigengradcam",
    "eigencam",
    "fullgrad",
    "ablationcam(batch_size=256)",
    "scorecam(channels=32)",
    "centre",
    "random",
)
# The last layers of the two coarsest resolutions: of the localizer's traced backbone, and of timm's.
STAGES = {
    "mobilenet_v2": ["backbone.net.features.13.conv.3", "backbone"],
    "timm/tf_efficientnet_lite0": ["backbone.net.net.blocks.4", "backbone"],
}
TRAINING = "--pooling gap --freeze-backbone --batch-size 32 --lr 0.01 --weight-decay 1 --epochs 8 --image-size 288"


def main() -> None:
    """Train what is not there, and print a table a backbone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--local-weights", nargs="+", required=True)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--limit", type=int, default=None)
    options = parser.parse_args()
    samples = read_voc(options.data, "val")
    samples = SampleSet(classes=samples.classes, samples=samples.samples[: options.limit])
    for backbone, weights in (one.split("=") for one in options.local_weights):
        model = trained(backbone, weights, options.data, options.out / Path(backbone).name)
        print(f"\n{backbone}, {len(samples)} images\n")
        print("| method | pointing | MaxBoxAcc 0.3 | 0.5 | 0.7 | seconds an image |")
        print("| --- | --- | --- | --- | --- | --- |")
        for method in options.methods:
            print(row(model, backbone, method, samples), flush=True)


def trained(backbone: str, weights: str, data: Path, out: Path) -> Localizer:
    """The run of a backbone."""
    places = ["--data", str(data), "--backbone", backbone, "--weights", weights]
    train(out, [*places, *shlex.split(TRAINING)])
    return wsl.load(out)


def row(model: Localizer, backbone: str, method: str, samples: SampleSet) -> str:
    """A method's figures."""
    name, _, stages = method.partition(" ")
    layers = STAGES[backbone] if stages else ()
    explained = model if name == "cam" else CamLocalizer.of(model, method=name, layers=layers)
    predictor = wsl.Predictor(explained, refine="none", device="cpu", precision="fp32")
    sources = [wsl.Source(sample.path, classes=sample.labels) for sample in samples.samples]
    list(predictor.stream(itertools.islice(sources, 4)))
    pointing = PointingGame(samples.classes, replicates=0)
    boxes = MaxBoxAcc(samples.classes, single_object=True, replicates=0)
    started = time.perf_counter()
    found = list(predictor.stream(sources, errors="raise"))
    seconds = (time.perf_counter() - started) / len(found)
    for one, sample in zip(found, samples.samples, strict=True):
        pointing.update(one, sample)
        boxes.update(one, sample)
    values = [pointing.compute()[0].value, *(metric.value for metric in boxes.compute())]
    cells = " | ".join("" if value is None else f"{value:.3f}" for value in values)
    shown = f"{name} of the last two stages" if stages else method
    return f"| {shown} | {cells} | {seconds:.3f} |"


if __name__ == "__main__":
    main()
