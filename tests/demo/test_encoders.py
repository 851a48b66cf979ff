"""Encoders learn the demo's digits from labels alone, and their gradient maps find them on whole canvases.

One network from scratch under four heads, so that all are trained for the time of one (about 15 s): on windows of the
training canvases, then looked at on larger, held-out ones, since an encoder takes maps of any size.
"""

import numpy as np
import pytest
import torch
from canvases import CLASSES, SIDE, Canvas, draw_canvases, read_scans, split_scans
from torch import nn

import heads
from wsl.cam import gradient_maps
from wsl.maps import peak
from wsl.metrics import average_precision
from wsl.models.tiny import TinyNet

ENCODERS = ("spp(levels=(2, 1))", "netvlad(clusters=8)", "bilinear", "compactbilinear(dim=1024)")
WINDOW = 48


def pixels(pictures: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def targets(canvas: Canvas, x: int = 0, y: int = 0, side: int = SIDE) -> list[float]:
    """Which classes have most of a digit in a window."""
    present = [0.0] * len(CLASSES)
    for digit in canvas.digits:
        x0, y0, x1, y1 = digit.box
        inside = max(0, min(x1, x + side) - max(x0, x)) * max(0, min(y1, y + side) - max(y0, y))
        if inside > 0.6 * (x1 - x0) * (y1 - y0):
            present[CLASSES.index(digit.label)] = 1.0
    return present


def windows(canvases: list[Canvas]) -> tuple[torch.Tensor, torch.Tensor]:
    """A window around each digit, anywhere around it."""
    rng, cut, present = np.random.default_rng(0), [], []
    for canvas in canvases:
        for x0, y0, x1, y1 in (digit.box for digit in canvas.digits):
            low, high = sorted((x1 - WINDOW, x0))
            x = int(np.clip(rng.integers(low, high, endpoint=True), 0, SIDE - WINDOW))
            low, high = sorted((y1 - WINDOW, y0))
            y = int(np.clip(rng.integers(low, high, endpoint=True), 0, SIDE - WINDOW))
            cut.append(canvas.pixels[y : y + WINDOW, x : x + WINDOW])
            present.append(targets(canvas, x, y, WINDOW))
    return pixels(cut), torch.tensor(present)


@pytest.fixture(scope="module")
def held_out() -> list[Canvas]:
    return list(draw_canvases(split_scans(read_scans(), 0)[1], 80, (0, 2)))


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, nn.ModuleDict]:
    """The network and its heads after eight rounds of 750 windows."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    images, present = windows(list(draw_canvases(split_scans(read_scans(), 0)[0], 300, (0, 1))))
    torch.manual_seed(0)
    network = TinyNet()
    classifiers = nn.ModuleDict({spec: heads.VectorClassifier(128, len(CLASSES), spec) for spec in ENCODERS})
    for classifier in classifiers.values():
        classifier.initialise(network(part) for part in images.split(100)[:3])
    optimizer = torch.optim.AdamW([*network.parameters(), *classifiers.parameters()], weight_decay=0.05)
    steps = [part for _ in range(8) for part in torch.randperm(len(images)).split(16)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=len(steps), pct_start=0.1)
    for part in steps:
        features = network(images[part])
        scores = torch.stack([classifier(features) for classifier in classifiers.values()])
        loss = nn.functional.binary_cross_entropy_with_logits(scores, present[part].expand_as(scores))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    torch.set_num_threads(before)
    return network.eval(), classifiers.eval()


@pytest.mark.long
@pytest.mark.parametrize("encoder", ENCODERS)
def test_it_tells_digits_apart_and_its_gradient_maps_point_at_them(trained, held_out, encoder):
    network, classifiers = trained
    with torch.inference_mode():
        scores, maps = gradient_maps(classifiers[encoder], network(pixels([canvas.pixels for canvas in held_out])))
    present = np.array([targets(canvas) for canvas in held_out])
    mean_ap = np.mean([average_precision(scores[:, k].numpy(), present[:, k] > 0) for k in range(len(CLASSES))])
    chance = present.mean()
    hits, centred = [], []
    for canvas, image_maps in zip(held_out, maps.numpy(), strict=True):
        for digit in canvas.digits:
            x0, y0, x1, y1 = digit.box
            for point, found in (
                (peak(image_maps[CLASSES.index(digit.label)], (SIDE, SIDE)), hits),
                ((SIDE / 2, SIDE / 2), centred),
            ):
                found.append(x0 - 15 < point[0] < x1 + 15 and y0 - 15 < point[1] < y1 + 15)
    assert mean_ap > chance + 0.2
    assert np.mean(hits) > np.mean(centred) + 0.3
