"""A device that is not the CPU, without one: tensors that say "meta", hold numbers, and mix with no others."""

import contextlib
import functools

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
ATEN = torch.ops.aten
# Which may read one device and write another, or take indices of the CPU.
MIXED = (ATEN.copy_.default, ATEN._to_copy.default, ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default)
_rounds = False


def convolve_in_tf32(func, images, weight, *rest):
    """A convolution of ten bits of mantissa whose sums have an order of their own, as on a GPU."""
    tens = [((one.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32) for one in (images, weight)]
    found = func(*tens, *rest)
    return found * (1 + 2**-22 * torch.randn_like(found))


class Tensor(torch.Tensor):
    """A tensor of that device."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        return torch.Tensor._make_wrapper_subclass(cls, held.shape, **layout, dtype=held.dtype, device=DEVICE)

    def __init__(self, held):
        self.held = held

    def __repr__(self):
        return f"{type(self).__name__}({self.held})"

    def tolist(self):
        return self.held.tolist()

    def data_ptr(self):
        return self.held.data_ptr()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _compute(func, args, kwargs or {})


def _compute(func, args, kwargs):
    inputs = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
    ours = [one for one in inputs if isinstance(one, Tensor)]
    if ours and func not in MIXED and any(one.ndim for one in inputs if not isinstance(one, Tensor)):
        raise RuntimeError(f"{func}: tensors of two devices")
    wanted = kwargs.get("device")
    if wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    args, kwargs = tree_map(lambda one: one.held if isinstance(one, Tensor) else one, (args, kwargs))
    if _rounds and ours and func is ATEN.convolution.default:
        func = functools.partial(convolve_in_tf32, func)
    result = func(*args, **kwargs)
    if not (ours if wanted is None else torch.device(wanted).type == DEVICE.type):
        return result
    known = {id(one.held): one for one in ours}  # an operation in place gives its own tensor

    def moved(one):
        if not isinstance(one, torch.Tensor):
            return one
        return known[id(one)] if id(one) in known else Tensor(one)

    return tree_map(moved, result)


class _Device(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        there = kwargs.get("device") is not None and torch.device(kwargs["device"]).type == DEVICE.type
        if there or any(issubclass(one, Tensor) for one in types):
            return _compute(func, args, kwargs)
        return func(*args, **kwargs)


@contextlib.contextmanager
def simulated(monkeypatch, *, tf32=False):
    """Inside, ``.to(DEVICE)`` and ``device=DEVICE`` give tensors of the device, in this thread; it has no autocast.

    With ``tf32`` its convolutions round.
    """

    def autocast(whole, kind, *args, **kwargs):
        return contextlib.nullcontext() if kind == DEVICE.type else whole(kind, *args, **kwargs)

    def of_cpu(whole, *kind):
        return whole(*("cpu" if one == DEVICE.type else one for one in kind))

    with monkeypatch.context() as patch:
        patch.setitem(globals(), "_rounds", tf32)
        patch.setattr(torch, "autocast", functools.partial(autocast, torch.autocast))
        for name in ("get_autocast_dtype", "is_autocast_enabled"):
            patch.setattr(torch, name, functools.partial(of_cpu, getattr(torch, name)))
        with _Device():
            yield
