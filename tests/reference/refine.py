"""The random walk over affinities, location by location, in plain Python."""

import math


def random_walk(values, features, power=4, steps=3):
    """`values` at n locations and their n feature vectors, to n values."""
    n, channels = len(values), len(features[0])
    mean = [math.fsum(vector[c] for vector in features) / n for c in range(channels)]
    centred = [[vector[c] - mean[c] for c in range(channels)] for vector in features]
    for _ in range(steps):
        values = [_step(i, values, centred, power) for i in range(n)]
    return values


def _step(i, values, centred, power):
    weights = [max(_cosine(centred[i], other), 0) ** power for other in centred]
    weights[i] = 1
    return math.fsum(w * v for w, v in zip(weights, values, strict=True)) / math.fsum(weights)


def _cosine(a, b):
    norms = math.sqrt(math.fsum(x * x for x in a) * math.fsum(x * x for x in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0
