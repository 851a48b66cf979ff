"""Objectives of training, slow and obvious: image by image, class by class, from the papers and the authors' code."""

import math

import torch
import torch.nn.functional as F


def asymmetric(score: float, target: float, gamma_neg: float, gamma_pos: float, clip: float) -> float:
    """Ridnik et al., equations 4 to 7, of one pair."""
    p = 1 / (1 + math.exp(-score))
    shifted = max(p - clip, 0)
    present = (1 - p) ** gamma_pos * math.log(p)
    absent = shifted**gamma_neg * math.log(1 - shifted)
    return -target * present - (1 - target) * absent


def ranged(map: torch.Tensor) -> torch.Tensor:
    """SEAM's ``max_norm`` of one map."""
    map = map.clamp(min=0)
    return (map - map.min() - 1e-5).clamp(min=0) / (map.max() - map.min() + 1e-5)


def equivariance(network, images, targets, mask, scale: float) -> torch.Tensor:
    """SEAM's ``loss_er`` over the images of which something is known."""
    size = tuple(round(side * scale) for side in images.shape[2:])
    losses = []
    for image, target, known in zip(images, targets, mask, strict=True):
        if not known.any():
            continue
        large = network(image[None]).maps
        small = network(F.interpolate(image[None], size, mode="bilinear", align_corners=False)).maps[0]
        large = F.interpolate(large, small.shape[1:], mode="bilinear", align_corners=False)[0]
        rows = []
        for k in range(len(target)):
            present = target[k] * known[k]
            rows.append((ranged(large[k]) * present - ranged(small[k]) * present).abs().mean())
        losses.append(torch.stack(rows).mean())
    return torch.stack(losses).mean()


def puzzle(network, images, targets, mask, tiles: int, alpha: float) -> torch.Tensor:
    """Puzzle-CAM's loss of merged tiles and its reconstruction, image by image, tile by tile."""
    losses = []
    for image, target, known in zip(images, targets, mask, strict=True):
        if not known.any():
            continue
        height, width = (math.ceil(side / tiles) * tiles for side in image.shape[1:])
        fitted = F.interpolate(image[None], (height, width), mode="bilinear", align_corners=False)
        rows = []
        for y in range(0, height, height // tiles):
            tile_row = [
                network(fitted[:, :, y : y + height // tiles, x : x + width // tiles]).maps
                for x in range(0, width, width // tiles)
            ]
            rows.append(torch.cat(tile_row, 3))
        merged = torch.cat(rows, 2)
        whole = F.interpolate(network(image[None]).maps, merged.shape[2:], mode="bilinear", align_corners=False)
        scores = merged[0].mean((1, 2))
        pairs = [F.binary_cross_entropy_with_logits(scores[k], target[k]) for k in range(len(target)) if known[k]]
        apart = [(whole[0, k] - merged[0, k]).abs().mean() * target[k] * known[k] for k in range(len(target))]
        losses.append(torch.stack(pairs).mean() + alpha * torch.stack(apart).mean())
    return torch.stack(losses).mean()


def recam(maps, features, weight, targets, mask) -> torch.Tensor:
    """ReCAM's softmax cross-entropy of each class present, summed over classes, the mean over images."""
    losses = []
    for n in range(len(maps)):
        if not mask[n].any():
            continue
        loss = torch.zeros(())
        for k in range(maps.shape[1]):
            if targets[n, k] * mask[n, k]:
                cam = maps[n, k].clamp(min=0)
                selected = (features[n] * (cam / (cam.max() + 1e-5))).mean((1, 2))
                loss = loss + F.cross_entropy(weight @ selected, torch.tensor(k))
        losses.append(loss)
    return torch.stack(losses).mean()
