"""The Triton kernels are the plain expressions, forward and backward: in Triton's interpreter, and on a GPU if any.

Triton looks at TRITON_INTERPRET when kernels are defined, so interpreted tests run in a process of their own.
"""

import functools
import math
import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton", reason="this build of torch comes without Triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")

if not INTERPRETED:

    @pytest.mark.long
    def test_in_the_interpreter():
        environment = {**os.environ, "TRITON_INTERPRET": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]


if INTERPRETED or torch.cuda.is_available():
    # Warnings of numpy, in which the interpreter computes: infinities and NaN are among the cases.
    pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")

    from heads.downsampling._window import Window
    from heads.downsampling.softpool import defined_softpool
    from heads.kernels import triton_rows, triton_selection, triton_windows
    from heads.kernels.function import apply
    from heads.kernels.selecting import End
    from heads.pooling.lse import plain_lse
    from heads.pooling.power import _power_mean
    from heads.pooling.softpool import _softpool

    SMOOTH = {
        "lse(4)": (triton_rows.LSE(), plain_lse, (4.0,)),
        "lse(1)": (triton_rows.LSE(), plain_lse, (1.0,)),
        "lse(1e-6)": (triton_rows.LSE(), plain_lse, (1e-6,)),
        "lse(1e29)": (triton_rows.LSE(), plain_lse, (1e29,)),
        "gem(3)": (triton_rows.PowerMean(), _power_mean, (3.0, 0.1)),
        "gem(1)": (triton_rows.PowerMean(), _power_mean, (1.0, 1e-6)),
        "gem(0.01)": (triton_rows.PowerMean(), _power_mean, (0.01, 1e-6)),
        "gem(50)": (triton_rows.PowerMean(), _power_mean, (50.0, 1e-6)),
        "softpool(1)": (triton_rows.SoftPool(), _softpool, (1.0,)),
        "softpool(9)": (triton_rows.SoftPool(), _softpool, (9.0,)),
    }
    SIZES = (1, 7, 16, 49, 300)

    def random_rows(*shape, seed=0):
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)

    def both_passes(pool, *inputs):
        inputs = [each.detach().clone().requires_grad_() for each in inputs]
        result = pool(*inputs)
        weights = random_rows(*result.shape, seed=1).to(result.dtype)
        return result.detach(), *torch.autograd.grad(result, inputs, weights)

    def plain_mean(values, ends):
        values = values.to(torch.promote_types(values.dtype, torch.float32))
        return sum(end.weight * values.topk(end.k, largest=end.largest).values.mean(-1) for end in ends)

    def first_of_ties(values, ends):
        """The gradient of the sum of scores where the first in row-major order are selected among equal values."""
        weights = torch.zeros_like(values)
        for end in ends:
            order = values.sort(dim=-1, descending=end.largest, stable=True).indices
            weights.scatter_add_(-1, order[..., : end.k], torch.full_like(values, end.share))
        return weights

    @pytest.mark.parametrize(("kernel", "plain", "settings"), SMOOTH.values(), ids=SMOOTH)
    def test_smooth_rows(kernel, plain, settings):
        for n in SIZES:
            for rows in (random_rows(1, 2, n), 30 * random_rows(1, 2, n), torch.full((1, 1, n), -1.5, device=DEVICE)):
                found = both_passes(lambda values: apply(kernel, plain, values, *settings), rows)
                exact = both_passes(lambda values: plain(values, *settings), rows.double())
                for one, other in zip(found, exact, strict=True):
                    torch.testing.assert_close(one.double(), other, rtol=3e-5, atol=3e-5 if settings[0] > 20 else 3e-6)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @pytest.mark.parametrize(("kernel", "plain", "settings"), SMOOTH.values(), ids=SMOOTH)
    def test_half_precision_is_summed_in_single(kernel, plain, settings, dtype):
        rows = random_rows(2, 3, 49).to(dtype)
        found = both_passes(lambda values: apply(kernel, plain, values, *settings), rows)
        assert found[0].dtype == torch.float32
        assert found[1].dtype == dtype
        expected = both_passes(lambda values: plain(values, *settings), rows)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-5)

    @pytest.mark.parametrize("name", ["lse", "gem"])
    @pytest.mark.parametrize("setting", [torch.tensor(3.0), torch.tensor([0.05]), torch.tensor([1.0, 0.3, 7.5])])
    def test_a_learnt_setting(name, setting):
        setting = setting.to(DEVICE)
        kernel, plain, others = {
            "lse": (triton_rows.LSE(), plain_lse, ()),
            "gem": (triton_rows.PowerMean(), _power_mean, (0.1,)),
        }[name]
        found = both_passes(lambda rows, s: apply(kernel, plain, rows, s, *others), random_rows(2, 3, 30), setting)
        exact = both_passes(lambda rows, s: plain(rows, s, *others), random_rows(2, 3, 30).double(), setting.double())
        for one, other in zip(found, exact, strict=True):
            torch.testing.assert_close(one.double(), other, rtol=2e-4, atol=2e-5)

    @pytest.mark.parametrize(("kernel", "plain", "settings"), SMOOTH.values(), ids=SMOOTH)
    @pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
    def test_rows_that_are_not_finite(kernel, plain, settings, odd):
        rows = random_rows(4, 20)
        rows[1, 5] = odd
        rows[2] = odd
        found = both_passes(lambda values: apply(kernel, plain, values, *settings), rows)
        expected = both_passes(lambda values: plain(values, *settings), rows)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)

    ENDS = {
        "kmax(1)": lambda n: (End(1, largest=True),),
        "kmax(half)": lambda n: (End((n + 1) // 2, largest=True),),
        "lowest": lambda n: (End((n + 1) // 2, largest=False),),
        "all": lambda n: (End(n, largest=True), End(n, largest=False)),
        "weldon(1)": lambda n: (End(1, largest=True), End(1, largest=False)),
        "wildcat": lambda n: (End((n + 4) // 5, largest=True, weight=0.5), End((n + 2) // 3, False, weight=0.35)),
    }
    ROWS = {
        "normal": lambda rows: rows,
        "ties": lambda rows: rows.round(),
        "rectified": lambda rows: (rows - 1).relu(),
        "constant": lambda rows: torch.full_like(rows, -2.5),
        "zeros of both signs": lambda rows: torch.where(rows > 0, 0.0, -0.0),
        "tiny": lambda rows: 1e-38 * rows,
        "huge": lambda rows: 1e38 * rows.clamp(-3, 3),
        "skewed": lambda rows: (9 * rows).exp(),
        "infinite": lambda rows: torch.where(rows.abs() > 1.5, rows.sign() * math.inf, rows),
        "half": lambda rows: rows.half(),
        "bfloat16": lambda rows: rows.bfloat16(),
    }

    @pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
    @pytest.mark.parametrize("spread", ROWS.values(), ids=ROWS)
    def test_selected_rows(spread, ends):
        for n in (1, 16, 77):
            rows, some = spread(random_rows(1, 2, n)), ends(n)
            leaf = rows.clone().requires_grad_()
            scores = apply(triton_selection.SelectedMean(), plain_mean, leaf, some)
            (gradient,) = torch.autograd.grad(scores, leaf, torch.ones_like(scores))
            expected = plain_mean(rows.double(), some).float()
            close = 1e-6 * rows[rows.isfinite()].abs().max().item()  # the two ends may cancel
            torch.testing.assert_close(scores, expected, rtol=1e-5, atol=close, equal_nan=True)
            assert gradient.dtype == rows.dtype
            torch.testing.assert_close(gradient.float(), first_of_ties(rows.float(), some), rtol=1e-2, atol=0)

    def test_not_a_number_is_the_highest():
        rows = random_rows(3, 20)
        rows[1, 4], rows[2] = math.nan, -math.nan
        for ends in ((End(3, True),), (End(3, False),), (End(20, True),)):
            scores = apply(triton_selection.SelectedMean(), plain_mean, rows, ends)
            torch.testing.assert_close(scores, plain_mean(rows, ends), equal_nan=True)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    @pytest.mark.parametrize("window", [(2,), (3, 2, 1), (3, 1), ((3, 2), (2, 1), (1, 0), (1, 2)), (3, 2, 1, 1, True)])
    def test_windows(window, layout, dtype):
        window = Window.of(2, *window)
        for scale in (1, 300):
            maps = (scale * random_rows(2, 3, 9, 7)).to(dtype).to(memory_format=layout)
            found = both_passes(
                lambda leaf: apply(triton_windows.WindowSoftPool(), defined_softpool, leaf, window), maps
            )
            expected = both_passes(lambda leaf: defined_softpool(leaf, window), maps)
            for one, other in zip(found, expected, strict=True):
                assert one.dtype == dtype
                torch.testing.assert_close(one, other, rtol=2e-2 if dtype != torch.float32 else 1e-5, atol=1e-4)
            assert found[0].is_contiguous(memory_format=layout)

    def test_windows_of_sequences_and_of_one_image():
        kernel = triton_windows.WindowSoftPool()
        for dims, shape in ((1, (2, 3, 11)), (1, (3, 11)), (2, (3, 8, 7))):
            window, maps = Window.of(dims, 3, 2, 1), random_rows(*shape)
            found = both_passes(lambda leaf, w=window: apply(kernel, defined_softpool, leaf, w), maps)
            expected = both_passes(lambda leaf, w=window: defined_softpool(leaf, w), maps)
            torch.testing.assert_close(found, expected)

    def test_not_a_number_stays_in_its_window():
        maps = random_rows(1, 2, 6, 6)
        maps[0, 0, 0, 0] = math.nan
        result = apply(triton_windows.WindowSoftPool(), defined_softpool, maps, Window.of(2, 2))
        assert result[0, 0, 0, 0].isnan()
        assert result.isnan().sum() == 1

    def test_a_gradient_may_come_expanded_and_values_with_gaps():
        for kernel, plain, settings in (
            (triton_rows.LSE(), plain_lse, (2.0,)),
            (triton_selection.SelectedMean(), plain_mean, ((End(3, True),),)),
        ):
            rows = random_rows(3, 5, 40)[:, ::2, ::2]
            leaf, twin = rows.clone().requires_grad_(), rows.clone().requires_grad_()
            strided = leaf.transpose(0, 1).contiguous().transpose(0, 1)
            apply(kernel, plain, strided, *settings).sum().backward()
            plain(twin, *settings).sum().backward()
            torch.testing.assert_close(leaf.grad, twin.grad)

    def test_second_derivatives_are_those_of_the_plain_expression():
        for kernel, plain, settings in (
            (triton_rows.SoftPool(), _softpool, (2.0,)),
            (triton_selection.SelectedMean(), plain_mean, ((End(3, True), End(2, False)),)),
        ):
            seconds = []
            for pool in (plain, functools.partial(apply, kernel, plain)):
                leaf = random_rows(2, 10).requires_grad_()
                (first,) = torch.autograd.grad(pool(leaf, *settings).square().sum(), leaf, create_graph=True)
                seconds.append((first.detach(), *torch.autograd.grad(first.square().sum(), leaf)))
            torch.testing.assert_close(*seconds)

    def test_kernels_run_where_they_are_tried():
        for kernel in (
            triton_rows.LSE(),
            triton_rows.PowerMean(),
            triton_rows.SoftPool(),
            triton_selection.SelectedMean(),
            triton_windows.WindowSoftPool(),
        ):
            kernel.try_on(DEVICE)
