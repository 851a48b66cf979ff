"""Class activation maps by the papers' formulas, one number at a time.

Activations and gradients are nested lists [channel][row][column] of one image and one class; attentions are nested
lists [block][head][query][key] of one image.
"""

import math

import torch


def gradcam(activations, gradients, relu=True):
    weights = [mean(flat(gradient)) for gradient in gradients]
    return weighted(weights, activations, relu)


def hirescam(activations, gradients, relu=True):
    return per_cell(activations, lambda k, i, j: gradients[k][i][j] * activations[k][i][j], relu)


def layercam(activations, gradients):
    return per_cell(activations, lambda k, i, j: max(gradients[k][i][j], 0.0) * activations[k][i][j], relu=False)


def xgradcam(activations, gradients, relu=True):
    weights = []
    for activation, gradient in zip(activations, gradients, strict=True):
        sizes = [abs(a) for a in flat(activation)]
        product = math.fsum(g * size for g, size in zip(flat(gradient), sizes, strict=True))
        weights.append(product / math.fsum(sizes) if any(sizes) else 0.0)
    return weighted(weights, activations, relu)


def gradcampp(activations, gradients, relu=True):
    """Equation 19 of the paper as it stands, for activations that are not negative."""
    weights = []
    for activation, gradient in zip(activations, gradients, strict=True):
        total = math.fsum(flat(activation))
        weight = 0.0
        for g in flat(gradient):
            alpha = g**2 / (2 * g**2 + total * g**3) if g != 0 else 0.0
            weight += alpha * max(g, 0.0)
        weights.append(weight)
    return weighted(weights, activations, relu)


def eigencam(activations):
    """By power iteration on the covariance of the channels."""
    vectors = list(zip(*[flat(activation) for activation in activations], strict=True))
    centre = [mean(column) for column in zip(*vectors, strict=True)]
    vectors = [[v - c for v, c in zip(vector, centre, strict=True)] for vector in vectors]
    axis = [1.0 + k / 10 for k in range(len(centre))]
    for _ in range(2000):
        projections = [dot(vector, axis) for vector in vectors]
        axis = [dot(projections, column) for column in zip(*vectors, strict=True)]
        length = math.sqrt(dot(axis, axis))
        axis = [a / length for a in axis]
    projections = [dot(vector, axis) for vector in vectors]
    if max(projections) < -min(projections):
        projections = [-p for p in projections]
    width = len(activations[0][0])
    return [projections[start : start + width] for start in range(0, len(projections), width)]


def scorecam(score, image, activations, index, align_corners=False, across_channels=False):
    """`score` gives the scores of a batch of one; the image is a tensor (3, H, W)."""
    weights = []
    for activation in activations:
        large = bilinear(activation, image.shape[-2:], align_corners)
        low, high = min(flat(large)), max(flat(large))
        if low == high:
            weights.append(0.0)
            continue
        mask = torch.tensor([[(value - low) / (high - low) for value in row] for row in large], dtype=image.dtype)
        scores = score((image * mask).unsqueeze(0))[0].tolist()
        weights.append(scores[index] if across_channels else softmax(scores)[index])
    return weighted(softmax(weights) if across_channels else weights, activations, relu=True)


def ablationcam(score_from, activations, index, relu=True):
    """`score_from` gives the scores of activations (1, C, h, w)."""

    def score(changed):
        return score_from(torch.tensor(changed, dtype=torch.float64).unsqueeze(0))[0, index].item()

    weights = []
    for k in range(len(activations)):
        changed = [activation if c != k else zeros(activation) for c, activation in enumerate(activations)]
        weights.append(score(activations) - score(changed))
    return weighted(weights, activations, relu)


def rollout(attentions, start=0):
    tokens = range(len(attentions[0][0]))
    product = identity(tokens)
    for heads in attentions[start:]:
        mixed = [[mean([head[q][k] for head in heads]) + (q == k) for k in tokens] for q in tokens]
        product = matmul([[value / math.fsum(row) for value in row] for row in mixed], product)
    return product[0]


def gradient_rollout(attentions, gradients, start=0):
    tokens = range(len(attentions[0][0]))
    relevance = identity(tokens)
    for heads, slopes in list(zip(attentions, gradients, strict=True))[start:]:
        positive = [
            [mean([max(g[q][k] * a[q][k], 0.0) for a, g in zip(heads, slopes, strict=True)]) for k in tokens]
            for q in tokens
        ]
        update = matmul(positive, relevance)
        relevance = [[relevance[q][k] + update[q][k] for k in tokens] for q in tokens]
    return relevance[0]


def legrad(gradients):
    tokens = range(len(gradients[0][0]))
    return [
        math.fsum(mean([max(head[q][k], 0.0) for head in heads for q in tokens]) for heads in gradients) for k in tokens
    ]


def finer_target(scores, index, alpha=1.0, references=3, weights="softmax"):
    others = [k for k in range(len(scores)) if k != index]
    nearest = sorted(others, key=lambda k: abs(scores[k] - scores[index]))[:references]
    shares = softmax([scores[k] if weights == "softmax" else 0.0 for k in nearest])
    return math.fsum(share * (scores[index] - alpha * scores[k]) for share, k in zip(shares, nearest, strict=True))


def minmax(cells):
    low, high = min(flat(cells)), max(flat(cells))
    return [[(value - low) / (high - low) if high > low else 0.0 for value in row] for row in cells]


def magnitude(terms):
    """A layer's terms [channel][row][column] as FullGrad sums them: normalised together, not channel by channel."""
    sizes = [[[abs(value) for value in row] for row in channel] for channel in terms]
    low, high = min(value for c in sizes for value in flat(c)), max(value for c in sizes for value in flat(c))
    return per_cell(sizes, lambda k, i, j: (sizes[k][i][j] - low) / (high - low) if high > low else 0.0, relu=False)


def bilinear(cells, size, align_corners=False):
    def at(new, new_count, old_count):
        if align_corners:
            position = new * (old_count - 1) / (new_count - 1) if new_count > 1 else 0.0
        else:
            position = min(max((new + 0.5) * old_count / new_count - 0.5, 0.0), old_count - 1.0)
        first = min(int(position), old_count - 1)
        return first, min(first + 1, old_count - 1), position - first

    result = []
    for y in range(size[0]):
        top, bottom, v = at(y, size[0], len(cells))
        row = []
        for x in range(size[1]):
            left, right, u = at(x, size[1], len(cells[0]))
            upper = (1 - u) * cells[top][left] + u * cells[top][right]
            lower = (1 - u) * cells[bottom][left] + u * cells[bottom][right]
            row.append((1 - v) * upper + v * lower)
        result.append(row)
    return result


def per_cell(activations, term, relu):
    rows, columns = range(len(activations[0])), range(len(activations[0][0]))
    sums = [[math.fsum(term(k, i, j) for k in range(len(activations))) for j in columns] for i in rows]
    return [[max(value, 0.0) for value in row] for row in sums] if relu else sums


def weighted(weights, activations, relu):
    return per_cell(activations, lambda k, i, j: weights[k] * activations[k][i][j], relu)


def softmax(values):
    highest = max(values)
    parts = [math.exp(value - highest) for value in values]
    return [part / math.fsum(parts) for part in parts]


def flat(cells):
    return [value for row in cells for value in row]


def zeros(cells):
    return [[0.0 for _ in row] for row in cells]


def mean(values):
    return math.fsum(values) / len(values)


def dot(left, right):
    return math.fsum(a * b for a, b in zip(left, right, strict=True))


def identity(tokens):
    return [[float(q == k) for k in tokens] for q in tokens]


def matmul(left, right):
    return [[dot(row, column) for column in zip(*right, strict=True)] for row in left]
