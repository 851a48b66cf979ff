"""Weighted fusion of boxes as it is written down: lists of boxes, one after another."""


def fused(boxes, iou):
    """Boxes (xyxy, score, source 0 or 1) of one class to (xyxy, score), highest score first."""
    groups = []
    for box in sorted(boxes, key=lambda box: -box[1]):
        near = [(overlap(mean(group), box[0]), -number) for number, group in enumerate(groups)]
        most, number = max(near, default=(0, 0))
        if most > iou:
            groups[-number].append(box)
        else:
            groups.append([box])
    found = [(mean(group), sum(best(group, source) for source in (0, 1)) / 2) for group in groups]
    return sorted(found, key=lambda box: -box[1])


def best(group, source):
    return max((score for _, score, whose in group if whose == source), default=0)


def mean(group):
    total = sum(score for _, score, _ in group)
    return [sum(xyxy[i] * score for xyxy, score, _ in group) / total for i in range(4)]


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
