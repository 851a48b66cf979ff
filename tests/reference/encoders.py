"""Slow, obvious encoders to test against: plain Python loops over the definitions.

``features`` is one image as nested lists, [channel][row][column]; vectors are lists.
"""

import cmath
import math
from fractions import Fraction


def spp(features, levels=(4, 2, 1), kind="max", edges="floor_ceil"):
    vector = []
    for level in levels:
        for channel in features:
            for top, bottom in bins(len(channel), level, edges):
                for left, right in bins(len(channel[0]), level, edges):
                    values = [channel[y][x] for y in range(top, bottom) for x in range(left, right)]
                    vector.append(max(values) if kind == "max" else math.fsum(values) / len(values))
    return vector


def bins(size, level, edges):
    found = []
    for i in range(level):
        start, end = Fraction(i * size, level), Fraction((i + 1) * size, level)
        if edges == "floor_ceil":
            found.append((math.floor(start), math.ceil(end)))
        else:
            first = min(round(start), size - 1)
            found.append((first, max(round(end), first + 1)))
    return found


def sppblock(features, kernels=(5, 9, 13)):
    blocks = list(features)
    for kernel in kernels:
        reach = kernel // 2
        for channel in features:
            height, width = len(channel), len(channel[0])
            blocks.append(
                [
                    [
                        max(
                            channel[v][u]
                            for v in range(max(0, y - reach), min(height, y + reach + 1))
                            for u in range(max(0, x - reach), min(width, x + reach + 1))
                        )
                        for x in range(width)
                    ]
                    for y in range(height)
                ]
            )
    return blocks


def descriptors(features):
    """One list of channels a location."""
    planes = [[value for row in channel for value in row] for channel in features]
    return [list(location) for location in zip(*planes, strict=True)]


def unit(vector):
    length = math.sqrt(math.fsum(v * v for v in vector))
    return [v / length if length >= 1e-12 else 0.0 for v in vector]


def netvlad(features, weight, bias, centres, normalise_input=True):
    sums = [[0.0] * len(centres[0]) for _ in centres]
    for x in descriptors(features):
        x = unit(x) if normalise_input else x
        logits = [
            math.fsum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)
        ]
        exponentials = [math.exp(logit - max(logits)) for logit in logits]
        for k, centre in enumerate(centres):  # rows of weight beyond them are ghosts
            share = exponentials[k] / math.fsum(exponentials)
            for j, (v, c) in enumerate(zip(x, centre, strict=True)):
                sums[k][j] += share * (v - c)
    return unit([v for part in sums for v in unit(part)])


def bilinear(features, other=None, signed_sqrt=True, l2=True):
    left, right = descriptors(features), descriptors(features if other is None else other)
    vector = [
        math.fsum(x[i] * y[j] for x, y in zip(left, right, strict=True)) / len(left)
        for i in range(len(left[0]))
        for j in range(len(right[0]))
    ]
    return evened(vector, signed_sqrt, l2)


def compactbilinear(features, other=None, *, places, signs, dim, signed_sqrt=True, l2=True):
    """As the paper has it: at each location the circular convolution of two count sketches, by Fourier transform."""
    left, right = descriptors(features), descriptors(features if other is None else other)
    total = [0.0] * dim
    for x, y in zip(left, right, strict=True):
        spectra = [fourier(sketch(v, p, s, dim)) for v, p, s in zip((x, y), places, signs, strict=True)]
        convolved = fourier([a * b for a, b in zip(*spectra, strict=True)], inverse=True)
        total = [t + c.real for t, c in zip(total, convolved, strict=True)]
    return evened([t / len(left) for t in total], signed_sqrt, l2)


def sketch(vector, places, signs, dim):
    counts = [0.0] * dim
    for value, place, sign in zip(vector, places, signs, strict=True):
        counts[place] += sign * value
    return counts


def fourier(values, inverse=False):
    n = len(values)
    turn = (2j if inverse else -2j) * cmath.pi / n
    sums = [sum(v * cmath.exp(turn * i * k) for i, v in enumerate(values)) for k in range(n)]
    return [s / n for s in sums] if inverse else sums


def evened(vector, signed_sqrt, l2):
    if signed_sqrt:
        vector = [math.copysign(math.sqrt(abs(v)), v) for v in vector]
    return unit(vector) if l2 else vector
