"""Component trees of a map of integer levels, compiled: the components at every threshold from one pass over pixels.

The foreground at threshold i is the pixels with a level above i. As i falls, components of the foreground appear, grow
and merge; as i rises, holes in it do the same. Pixels are visited in the order of their levels (`ordering`) and joined
to the components of their neighbours (`components`). The state of a component is recorded before each change, with the
thresholds at which it was valid. `outlines` and `overlap` read those records. `neighbourhoods` precomputes the effect
of each pixel.

Importing one of these modules loads numba (half a second), so callers import them on first use. The first call of a
function compiles it, and the compiled code is cached on disk. The cache does not notice when another file changes, so a
compiled function never calls one of another file, and after a change to a table in `neighbourhoods` or a column in
`components` the compiled code has to be deleted (``__pycache__/*.nb?``).

Source: Najman & Couprie, Building the Component Tree in Quasi-Linear Time, IEEE TIP 2006.
"""
