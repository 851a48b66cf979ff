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
