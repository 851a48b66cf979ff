"""The random walk over affinities, location by location, in plain Python."""

import math


def random_walk(values, layers, power=2, steps=3):
    """`values` at n locations and, layer by layer, their n feature vectors, to n values."""
    n = len(values)
    layers = [_centred(vectors) for vectors in layers]
    for _ in range(steps):
        values = [_step(i, values, layers, power) for i in range(n)]
    return values


def _centred(vectors):
    n, channels = len(vectors), len(vectors[0])
    mean = [math.fsum(vector[c] for vector in vectors) / n for c in range(channels)]
    return [[vector[c] - mean[c] for c in range(channels)] for vector in vectors]


def _step(i, values, layers, power):
    weights = []
    for j in range(len(values)):
        likeness = math.fsum(_cosine(vectors[i], vectors[j]) for vectors in layers) / len(layers)
        weights.append(1 if i == j else max(likeness, 0) ** power)
    return math.fsum(w * v for w, v in zip(weights, values, strict=True)) / math.fsum(weights)


def _cosine(a, b):
    norms = math.sqrt(math.fsum(x * x for x in a) * math.fsum(x * x for x in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0
