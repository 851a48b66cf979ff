"""Component trees of a map of whole levels, compiled: every threshold's parts from one pass over its pixels.

Threshold number i keeps the pixels of level above i. As i falls, parts of the foreground appear, grow and merge; as it
rises, so do the holes in it. Pixels are visited in the order of their levels (`ordering`) and joined to their
neighbours' parts (`parts`); a part's state is written down whenever it is about to change, with the thresholds at
which it stood. `outlines` and `overlap` read those records. `rings` says beforehand what each pixel can do.

Importing one of these modules loads numba (half a second); the first call of a function compiles it, and the compiled
code is kept on disk. What is kept knows its own file only: a compiled function calls none of another file, and whoever
changes a table of `rings` or a column of `parts` deletes the compiled code (``__pycache__/*.nb?``).

Source: Najman & Couprie, Building the Component Tree in Quasi-Linear Time, IEEE TIP 2006.
"""
