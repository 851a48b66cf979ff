"""Maps, windows and specs that a windowed pooling cannot take, and what it says of them."""

import pytest
import torch

import heads
from heads import DOWNSAMPLINGS


@pytest.mark.parametrize("name", [name for name in DOWNSAMPLINGS if name.endswith("2d")])
@pytest.mark.parametrize(
    ("maps", "error", "message"),
    [
        (torch.ones(7, 7), ValueError, r"maps have shape \(7, 7\), expected \(N, C, H, W\) or \(C, H, W\)"),
        (torch.ones(1, 1, 1, 7, 7), ValueError, r"maps have shape \(1, 1, 1, 7, 7\), expected"),
        (torch.ones(3, 7, 7, dtype=torch.int64), TypeError, r"maps are torch.int64, expected .* maps.float\(\)"),
        (torch.ones(3, 7, 7, dtype=torch.bool), TypeError, r"maps are torch.bool"),
        ([[[1.0]]], TypeError, r"maps are a list, expected a tensor"),
        (torch.ones(3, 7, 2), ValueError, r"kernel_size is 3 on maps of shape \(3, 7, 2\) .* give 2 or less"),
        (torch.ones(3, 7, 0), ValueError, r"kernel_size is 3 on maps of shape \(3, 7, 0\)"),
    ],
)
def test_other_maps_are_refused(name, maps, error, message):
    pooling = DOWNSAMPLINGS[name](3)
    with pytest.raises(error, match=message):
        pooling(maps)
    with pytest.raises(error, match=message):
        getattr(heads.downsampling, name)(maps, 3)


@pytest.mark.parametrize("kind", DOWNSAMPLINGS.values())
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kernel_size": 0}, ValueError, "kernel_size is 0, expected an integer of 1 or more"),
        ({"kernel_size": True}, TypeError, "kernel_size is True, expected an integer"),
        ({"kernel_size": 2.0}, TypeError, r"kernel_size is 2\.0, expected an integer"),
        ({"kernel_size": (2, 2, 2, 2)}, ValueError, r"kernel_size is \(2, 2, 2, 2\), expected"),
        ({"kernel_size": ()}, ValueError, r"kernel_size is \(\), expected"),
        ({"kernel_size": "3"}, TypeError, "kernel_size is '3', expected"),
        ({"kernel_size": 3, "stride": 0}, ValueError, "stride is 0, expected"),
        ({"kernel_size": 3, "padding": -1}, ValueError, "padding is -1, expected an integer of 0 or more"),
        ({"kernel_size": 3, "padding": 2}, ValueError, "padding is 2, expected at most half of kernel_size 3: give 1"),
        ({"kernel_size": 3, "dilation": 0}, ValueError, "dilation is 0, expected"),
        ({"kernel_size": 3, "ceil_mode": 1}, TypeError, "ceil_mode is 1, expected True or False"),
    ],
)
def test_bad_windows_are_refused(kind, arguments, error, message):
    with pytest.raises(error, match=message):
        kind(**arguments)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("softpool2d", r"'softpool2d' has no kernel_size: expected softpool2d\(kernel_size=…\)"),
        ("softpol2d(kernel_size=2)", "unknown downsampling 'softpol2d': did you mean 'softpool2d'"),
        ("softpool2d(kernel_size=2, sride=2)", "has no argument 'sride': did you mean 'stride'"),
        ("softpool2d(kernel_size=2, count_include_pad=2)", "count_include_pad is 2, expected True or False"),
        ("mixedpool2d(kernel_size=2, lam=2)", r"lam is 2\.0, expected the weight of the maximum in \[0, 1\]"),
        ("mixedpool2d(kernel_size=2, lam=nan)", "lam is nan"),
        ("mixedpool2d(kernel_size=2, lam=1, mode=learned)", "a limit that cannot be learnt from"),
        ("mixedpool2d(kernel_size=2, mode=gated)", "mode is 'gated', expected"),
        ("mixedpool2d(kernel_size=2, draw=image)", "draw is 'image', expected"),
        ("powerpool2d(kernel_size=2, p=0)", r"p is 0\.0, expected an exponent above 0"),
        ("powerpool2d(kernel_size=2, p=inf, learnable=true)", "p is inf, a limit that cannot be learnt from"),
        ("powerpool2d(kernel_size=2, eps=0)", r"eps is 0\.0, expected a small number above 0"),
        ("powerpool2d(kernel_size=2, learnable=1)", "learnable is 1, expected True or False"),
        ("adapool2d(kernel_size=2, beta=-1)", r"beta is -1\.0, expected the weight of eDSCWPool in \[0, 1\]"),
        ("adapool2d(kernel_size=2, beta=1)", "beta is 1, a limit that cannot be learnt from"),
        ("stochasticpool2d(kernel_size=2, probability=uniform)", "probability is 'uniform', expected"),
    ],
)
def test_bad_specs_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        heads.create_downsampling(spec)
