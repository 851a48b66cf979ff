"""Slow, obvious implementations to test against: plain Python loops over the definitions."""

import math
from fractions import Fraction


def gmp(values):
    highest = values[0]
    for value in values:
        if value > highest:
            highest = value
    return highest


def gap(values):
    return math.fsum(values) / len(values)


def kmax(values, k=1, rounding="floor"):
    n = len(values)
    k = n if k == "all" or k <= 0 else locations(k, n, rounding)
    return gap(sorted(values, reverse=True)[:k])


def lse(values, beta=1.0):
    highest = gmp(values)
    total = math.fsum(math.exp(beta * (value - highest)) for value in values)
    return highest + math.log(total / len(values)) / beta


def weldon(values, k_max=1, k_min=None, reduction="sum", rounding="floor"):
    k_min = k_max if k_min is None else k_min
    top = kmax(values, k_max, rounding)
    if k_min != "all" and k_min <= 0:
        return top
    total = top - kmax([-value for value in values], k_min, rounding)
    return total if reduction == "sum" else total / 2


def wildcat(values, k_max=1, k_min=None, alpha=1.0, rounding="floor"):
    k_min = k_max if k_min is None else k_min
    top = kmax(values, k_max, rounding)
    if alpha == 0 or (k_min != "all" and k_min <= 0):
        return top
    return (top - alpha * kmax([-value for value in values], k_min, rounding)) / 2


def mixed(values, lam=0.5, mode="fixed", draw="element"):
    return lam * gmp(values) + (1 - lam) * gap(values)


def add(values):
    return (gmp(values) + gap(values)) / 2


def cat(values):
    return [gap(values), gmp(values)]


def gem(values, p=3.0, of="values", eps=1e-6):
    if of == "probabilities":
        y = gem([math.exp(log_sigmoid(value)) for value in values], p, eps=0)
        return math.log(y) - math.log1p(-y)
    raised = [max(value, eps) ** p for value in values]
    return gap(raised) ** (1 / p)


def softpool(values, beta=1.0):
    return weighted(values, [beta * value for value in values])


def weighted(values, logits):
    """The mean of the values with the exponentials of the logits as weights."""
    highest = gmp(logits)
    weights = [math.exp(logit - highest) for logit in logits]
    return math.fsum(w * value for w, value in zip(weights, values, strict=True)) / math.fsum(weights)


def stochastic(values, probability="share"):
    """The expectation."""
    if probability == "softmax":
        return softpool(values)
    total = math.fsum(values)
    return math.fsum(value / total * value for value in values) if total else 0.0


def median(values):
    ordered = sorted(values)
    n = len(ordered)
    return ordered[n // 2] if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2


def csra(values, heads=1, lam=0.1):
    temperatures = {1: [1], 2: [1, 99], 4: [1, 2, 4, 99], 6: [1, 2, 3, 4, 5, 99], 8: [1, 2, 3, 4, 5, 6, 7, 99]}
    total = 0.0
    for t in heads if isinstance(heads, tuple) else temperatures[heads]:
        total += gap(values) + lam * (gmp(values) if t == 99 else softpool(values, t))
    return total


def gndp(values, threshold=0.4):
    highest = gmp(values)
    return gap([value if highest <= 0 or value < threshold * highest else 0.0 for value in values])


def pcam(values):
    return weighted(values, [log_sigmoid(value) for value in values])


def exp(values, of="values"):
    if of == "values":
        return softpool(values)
    p = [math.exp(log_sigmoid(value)) for value in values]
    q = [math.exp(log_sigmoid(-value)) for value in values]
    return math.log(weighted(p, p)) - math.log(weighted(q, p))


def linear(values, of="probabilities"):
    if of == "values":
        return stochastic(values)
    p = [math.exp(log_sigmoid(value)) for value in values]
    q = [math.exp(log_sigmoid(-value)) for value in values]
    return math.log(math.fsum(a * a for a in p)) - math.log(math.fsum(a * b for a, b in zip(p, q, strict=True)))


def log_sigmoid(x):
    return min(x, 0.0) - math.log1p(math.exp(-abs(x)))


def locations(k, n, rounding="floor"):
    """Of n locations, those that k stands for; a float is the decimal number that one reads."""
    if k >= 1:
        return min(int(k), n)
    exact = Fraction(str(k)) * n
    return max(1, math.floor(exact) if rounding == "floor" else round(exact))


def classwise_mean(maps, maps_per_class):
    """Lists of numbers, one a map -> one a class."""
    classes = [maps[start : start + maps_per_class] for start in range(0, len(maps), maps_per_class)]
    return [[gap(location) for location in zip(*group, strict=True)] for group in classes]
