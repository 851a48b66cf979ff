"""Thresholds and box rules: those with which a run draws its boxes (`stored`), and the best ones on a split (`select`).

`stored` is used whenever images are localized and loads no metrics; `select` is part of evaluation.
"""
