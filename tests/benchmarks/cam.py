"""Maps by gradient: ours beside pytorch-grad-cam and TorchCAM, in turns on the same images, as ratios.

    pip install torchcam captum ttach && pip install --no-deps grad-cam
    python tests/benchmarks/cam.py [--networks resnet18 resnet50] [--rounds 5] [--device cpu] [--precision auto]

All start from a normalised batch of 16 images of 224 x 224 and end with maps of the images' size in [0, 1]. Weights are
random: time does not depend on them.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch.nn import functional as F
from torchvision import models

import wsl
from wsl.cam.minmax import minmax

BATCH, SIDE, CLASSES = 16, 224, 20


def main() -> None:
    """Print a row a network and task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", help="ours only: auto takes bfloat16 where it is faster")
    options = parser.parse_args()
    if options.device.startswith("cuda"):
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.rounds} rounds")
    print(
        "| network | task | ours, ms | pytorch-grad-cam, times ours | TorchCAM, times ours | bare forward, times ours |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.networks:
        compare(name, options.rounds, torch.device(options.device), options.precision)


def compare(name: str, rounds: int, device: torch.device, precision: str) -> None:
    """The rows of one network."""
    torch.manual_seed(0)
    net = models.get_model(name, weights=None).to(device).eval()
    images = torch.randn(BATCH, 3, SIDE, SIDE, device=device)
    one = torch.randint(0, 1000, (BATCH, 1), generator=torch.Generator().manual_seed(0))
    many = torch.arange(CLASSES).expand(BATCH, -1)

    def bare() -> None:
        with torch.inference_mode():
            net(images)

    for task, method, classes in (
        ("class maps in the graph, one class an image", "cam", one),
        ("Grad-CAM, one class an image", "gradcam", one),
        ("LayerCAM, one class an image", "layercam", one),
        ("Grad-CAM of layer3, one class an image", "gradcam layer3", one),
        (f"Grad-CAM, {CLASSES} classes an image", "gradcam", many),
        (f"LayerCAM, {CLASSES} classes an image", "layercam", many),
    ):
        kind, _, layer = method.partition(" ")
        rivals = {"ours": ours(net, images, classes, kind, layer, precision), "bare": bare}
        if kind != "cam":
            rivals["grad-cam"] = theirs(net, images, classes, kind, layer or "layer4")
            rivals["torchcam"] = torchcams(net, images, classes, kind, layer or "layer4")
        seconds = race(rivals, rounds, device)
        ratios = {
            rival: statistics.median(b / a for a, b in zip(seconds["ours"], spent, strict=True))
            for rival, spent in seconds.items()
        }
        cells = [f"{ratios[rival]:.2f}" if rival in ratios else "" for rival in ("grad-cam", "torchcam", "bare")]
        ours_ms = 1000 * statistics.median(seconds["ours"])
        print(f"| {name} | {task} | {ours_ms:.{1 if ours_ms < 100 else 0}f} | {' | '.join(cells)} |", flush=True)


def race(rivals: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each rival in each round, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for number in range(rounds + 1):
        for name, run in rivals.items():
            started = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ours(
    net: torch.nn.Module, images: torch.Tensor, classes: torch.Tensor, method: str, layer: str, precision: str
) -> Callable[[], object]:
    """A model made once, as a user does who has more than one batch."""
    model = wsl.Localizer.from_classifier(net, method=method, layers=[layer] if layer else []).to(images.device)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return large(wsl.cam(model, images, classes, precision=precision))

    return run


def large(maps: torch.Tensor) -> torch.Tensor:
    """Maps of the images' size in [0, 1]."""
    return minmax(F.interpolate(maps, (SIDE, SIDE), mode="bilinear", align_corners=False))


def theirs(
    net: torch.nn.Module, images: torch.Tensor, classes: torch.Tensor, method: str, layer: str
) -> Callable[[], object]:
    """pytorch-grad-cam: a call for each class, which runs the network."""
    from pytorch_grad_cam import GradCAM, LayerCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    cam = {"gradcam": GradCAM, "layercam": LayerCAM}[method](net, [net.get_submodule(layer)])

    def run() -> list[object]:
        return [cam(images, [ClassifierOutputTarget(int(c)) for c in column]) for column in classes.T]

    return run


def torchcams(
    net: torch.nn.Module, images: torch.Tensor, classes: torch.Tensor, method: str, layer: str
) -> Callable[[], object]:
    """TorchCAM: the network once, then a call for each class."""
    from torchcam.methods import GradCAM, LayerCAM

    cam = {"gradcam": GradCAM, "layercam": LayerCAM}[method](net, layer)

    def run() -> list[object]:
        scores = net(images)
        made = [cam([int(c) for c in column], scores, retain_graph=True)[0] for column in classes.T]
        return [large(maps[:, None]) for maps in made]

    return run


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
