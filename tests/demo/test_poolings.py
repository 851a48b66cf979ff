"""Every pooling learns: from labels of whole pictures, a head tells the demo's digits apart and points at them."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from heads import POOLINGS, MapClassifier
from wsl.metrics import average_precision, pointing_hit
from wsl.models.tiny import TinyNet

sys.path.insert(0, str(Path(__file__).parents[2] / "demo"))
from canvases import CLASSES, SIDE, draw_canvases, read_scans, split_scans

# Where the bare name is not the form for class maps, or a proportion suits digits of a few cells.
SPECS = {
    "kmax": "kmax(k=0.1)",
    "weldon": "weldon(k_max=0.1)",
    "wildcat": "wildcat(k_max=0.1, alpha=0.7)",
    "lse": "lse(learnable=True, classes=auto)",
    "mixed": "mixed(mode=random)",
    "gem": "gem(of=probabilities)",
    "stochastic": "stochastic(probability=softmax)",
    "attention": "attention(hidden=32)",
    "csra": "csra(heads=4, lam=0.5)",
    "adaptive": "adaptive(size=2)",
}
BATCH = 32


def windows(canvases, side, seed):
    """A window around each digit: pixels, 1/0/-1 (cut off by the border) for each class, the digit, boxes by class."""
    rng, pixels, targets, digits, boxes = np.random.default_rng(seed), [], [], [], []
    for canvas in canvases:
        for digit in canvas.digits:
            x0, y0, x1, y1 = digit.box
            left, top = (
                int(rng.integers(max(0, far - side), min(near, SIDE - side), endpoint=True))
                for near, far in ((x0, x1), (y0, y1))
            )
            known, inside = np.zeros(len(CLASSES)), {}
            for other in canvas.digits:
                box = np.subtract(other.box, (left, top, left, top))
                cut = np.clip(box, 0, side)
                if (cut[2:] > cut[:2]).all():
                    whole = (cut == box).all()
                    known[CLASSES.index(other.label)] = 1 if whole else -1
                    if whole:
                        inside[CLASSES.index(other.label)] = box
            pixels.append(canvas.pixels[top : top + side, left : left + side])
            targets.append(known)
            digits.append(CLASSES.index(digit.label))
            boxes.append(inside)
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    return (images - 0.45) / 0.225, torch.from_numpy(np.stack(targets)).float(), torch.tensor(digits), boxes


def fit(network, inputs, loss_of, epochs, lr):
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr)
    steps = epochs * (len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    order = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs), generator=order)[: len(inputs) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            loss_of(network(inputs[rows]), rows).backward()
            optimizer.step()
            schedule.step()
    network.eval()


def multi_label_loss(scores, targets):
    known = targets >= 0
    losses = binary_cross_entropy_with_logits(scores, targets.clamp(min=0), reduction="none")
    return (losses * known).sum() / known.sum()


class Together(nn.Module):
    """Heads on the same features. No weight is shared, so that they learn as each would alone, in one pass."""

    def __init__(self, specs):
        super().__init__()
        self.heads = nn.ModuleList(MapClassifier(128, len(CLASSES), pooling=spec) for spec in specs)
        for head in self.heads:
            if head.conv.bias is not None:
                nn.init.constant_(head.conv.bias, -2)  # most classes are absent, and maxima are slow to learn that

    def forward(self, features):
        return [head(features) for head in self.heads]


# About 30 s on a quiet core: a network learns to see digits (single ones first, which is quick), then all heads learn
# at once from its features, from scratch and from labels of whole windows. One test, since what takes the time is one
# training for all, which several processes of the test run would each repeat.
@pytest.mark.long
def test_after_a_short_training_every_pooling_beats_chance_in_telling_apart_and_in_pointing():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        results, chance, centre = train_and_measure([SPECS.get(name, name) for name in POOLINGS])
    finally:
        torch.set_num_threads(threads)
    shown = "\n".join(f"{spec}: mAP {mean_ap:.3f}, pointing {hits:.3f}" for spec, mean_ap, hits in results)
    assert chance == pytest.approx(0.12, abs=0.03)
    weak = [spec for spec, mean_ap, hits in results if mean_ap < 2.5 * chance or hits < centre + 0.2]
    assert not weak, f"{weak}; chance {chance:.3f}, centre {centre:.3f}\n{shown}"


def train_and_measure(specs):
    train_scans, test_scans = split_scans(read_scans(), seed=0)
    train = list(draw_canvases(train_scans, 300, (0, 1)))
    test = list(draw_canvases(test_scans, 75, (0, 2)))
    torch.manual_seed(0)
    backbone = TinyNet()
    single, _, digits, _ = windows(train, 48, 1)
    classifier = nn.Sequential(backbone, MapClassifier(128, len(CLASSES), pooling="gmp"))
    fit(classifier, single, lambda output, rows: cross_entropy(output.scores, digits[rows]), epochs=7, lr=3e-3)
    images, targets, _, _ = windows(train, 64, 3)
    localizer = nn.Sequential(backbone, MapClassifier(128, len(CLASSES), pooling="weldon(k_max=0.1)"))
    localizer.train()
    fit(localizer, images, lambda output, rows: multi_label_loss(output.scores, targets[rows]), epochs=4, lr=3e-3)
    held_out, known, _, boxes = windows(test, 64, 4)
    with torch.no_grad():
        features, held_out = backbone(images), backbone(held_out)
    together = Together(specs)
    fit(
        together,
        features,
        lambda outputs, rows: sum(multi_label_loss(output.scores, targets[rows]) for output in outputs),
        epochs=18,
        lr=1e-2,
    )
    with torch.no_grad():
        outputs = together(held_out)
    results = [
        (spec, mean_ap(output.scores, known), pointing(output.maps, boxes))
        for spec, output in zip(specs, outputs, strict=True)
    ]
    centre = [pointing_hit((31.5, 31.5), [box], 1.0) for inside in boxes for box in inside.values()]
    return results, ((known == 1).sum() / (known >= 0).sum()).item(), float(np.mean(centre))


def mean_ap(scores, known):
    return float(np.mean([average_precision(scores[:, k], known[:, k]) for k in range(len(CLASSES))]))


def pointing(maps, boxes):
    """How often the middle of a map's highest cell lies on a box of its class."""
    hits = []
    for row, inside in enumerate(boxes):
        for label, box in inside.items():
            y, x = divmod(int(maps[row, label].argmax()), maps.shape[-1])
            hits.append(pointing_hit((8 * x + 3.5, 8 * y + 3.5), [box], 1.0))
    return float(np.mean(hits))
