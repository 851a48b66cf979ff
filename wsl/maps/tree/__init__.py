"""Component trees of a map of integer levels, compiled: the components at every threshold from one pass over pixels.

Threshold i keeps the pixels of a level above i. As i falls, components of the foreground appear, grow and merge; as it
rises, so do the holes in it. Pixels are visited in the order of their levels (`ordering`) and joined to the components
of their neighbours (`components`). The state of a component is recorded before each change, with the thresholds at
which it was valid. `outlines` and `overlap` read those records. `neighbourhoods` finds beforehand what each pixel does.

Importing one of these modules loads numba (half a second), so their callers import them on first use. The first call
of a function compiles it, and the compiled code is kept on disk. A cached function does not notice that another file
has changed: a compiled function calls none of another file, and after a change of a table in `neighbourhoods` or of a
column in `components` the compiled code has to be deleted (``__pycache__/*.nb?``).

Source: Najman & Couprie, Building the Component Tree in Quasi-Linear Time, IEEE TIP 2006.
"""
