"""Slow, obvious implementations of windowed poolings: loops over windows, plain Python over their values."""

import itertools
import math
import statistics


def pooled(array, pool, kernel, stride=None, padding=0, dilation=1, ceil_mode=False, count_include_pad=False):
    """A numpy array of any number of dimensions, a function of a list of numbers -> {place: value}, output size."""
    dims = array.ndim
    kernel, padding, dilation = (each(value, dims) for value in (kernel, padding, dilation))
    stride = kernel if stride is None else each(stride, dims)
    sizes = [places(*one, ceil_mode) for one in zip(array.shape, kernel, stride, padding, dilation, strict=True)]
    found = {}
    for place in itertools.product(*map(range, sizes)):
        values = []
        for offset in itertools.product(*map(range, kernel)):
            at = [i * s - p + j * d for i, j, s, p, d in zip(place, offset, stride, padding, dilation, strict=True)]
            if all(0 <= x < n for x, n in zip(at, array.shape, strict=True)):
                values.append(float(array[tuple(at)]))
            elif count_include_pad and all(-p <= x < n + p for x, n, p in zip(at, array.shape, padding, strict=True)):
                values.append(0.0)
        found[place] = pool(values)
    return found, tuple(sizes)


def each(value, dims):
    return (value,) * dims if isinstance(value, int) else tuple(value)


def places(size, kernel, stride, padding, dilation, ceil_mode):
    """By trying: the window moves on while it lies in the padded map, in ceil mode once more if it starts in it."""
    reach = (kernel - 1) * dilation + 1
    count = 0
    while count * stride - padding + reach <= size + padding:
        count += 1
    if ceil_mode and (count - 1) * stride - padding + reach < size + padding and count * stride - padding < size:
        count += 1
    return count


def softpool(values):
    highest = max(values)
    weights = [math.exp(value - highest) for value in values]
    return math.fsum(w * v for w, v in zip(weights, values, strict=True)) / math.fsum(weights)


def stochasticpool(values, probability="share"):
    """The mean over all draws."""
    if probability == "softmax":
        return softpool(values)
    total = math.fsum(values)
    return math.fsum(value / total * value for value in values) if total else 0.0


def mixedpool(values, lam=0.5, mode="fixed", draw="layer"):
    return lam * max(values) + (1 - lam) * avgpool(values)


def medianpool(values):
    return statistics.median(values)


def powerpool(values, p=3.0, eps=1e-6):
    values = [max(value, eps) for value in values]
    highest = max(values)
    if p == math.inf:
        return highest
    return highest * (math.fsum((value / highest) ** p for value in values) / len(values)) ** (1 / p)


def adapool(values, beta=0.5):
    mean = avgpool(values)
    alike = [math.exp(2 * v * mean / (v * v + mean * mean)) if v or mean else 1.0 for v in values]
    by_likeness = math.fsum(w * v for w, v in zip(alike, values, strict=True)) / math.fsum(alike)
    return beta * by_likeness + (1 - beta) * softpool(values)


def maxpool(values):
    return max(values)


def avgpool(values):
    return math.fsum(values) / len(values)
