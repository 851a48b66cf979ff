"""Thresholds and box rules: which one a run draws its boxes with (`stored`), and which is best on a split (`select`).

`stored` is read whenever images are localized and loads no metrics; `select` is evaluation.
"""
