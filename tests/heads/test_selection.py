"""How many locations k stands for."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heads.pooling import WELDON, WILDCAT, KMax, kmax, weldon, wildcat
from heads.pooling._selection import check_k, count_locations


def count(k, n, rounding="floor"):
    return count_locations(check_k(k), n, rounding)


@settings(deadline=None)
@given(n=st.integers(2, 100_000), data=st.data())
def test_a_proportion_of_its_own_denominator_is_its_numerator(n, data):
    m = data.draw(st.integers(1, n - 1))
    assert count(m / n, n) == count(m / n, n, "round") == m


@settings(deadline=None)
@given(digits=st.integers(1, 9999), n=st.integers(1, 10_000), rounding=st.sampled_from(["floor", "round"]))
def test_a_proportion_is_the_decimal_number_that_one_reads(reference, digits, n, rounding):
    assert count(digits / 10_000, n, rounding) == reference.poolings.locations(Fraction(digits, 10_000), n, rounding)


@settings(deadline=None)
@given(k=st.floats(0, 1, exclude_min=True, exclude_max=True), n=st.integers(1, 10_000))
def test_a_proportion_selects_at_least_one_location_and_never_more_than_there_are(k, n):
    for rounding in ("floor", "round"):
        assert 1 <= count(k, n, rounding) <= n


@pytest.mark.parametrize(
    ("k", "n", "floor", "rounded"),
    [
        (0.2, 49, 9, 10),
        (0.1, 25, 2, 2),  # 2.5: halves go to the even number
        (0.3, 5, 1, 2),  # 1.5
        (0.5, 5, 2, 2),  # 2.5
        (0.5, 1, 1, 1),  # 0.5, which Python rounds to 0
        (0.01, 9, 1, 1),
        (0.1 + 0.2, 10, 3, 3),
        (0.29, 100, 29, 29),
        (float(torch.tensor(0.7)), 10, 7, 7),  # 0.69999998807…
    ],
)
def test_floor_and_round(k, n, floor, rounded):
    assert count(k, n) == floor
    assert count(k, n, "round") == rounded


def test_counts_are_clamped_to_the_map():
    assert [count(k, 9) for k in (1, 9, 10, 10.0, 1e300, 10**400, "all")] == [1, 9, 9, 9, 9, 9, 9]
    assert kmax(torch.ones(1, 3, 3), 10).item() == 1


def test_rounding_reaches_every_pooling():
    ramp = torch.arange(49.0).reshape(1, 7, 7)
    nine, ten = 44.0, 43.5
    for pool in (kmax, lambda maps, k, rounding: wildcat(maps, k, 0, rounding=rounding)):
        assert pool(ramp, 0.2, rounding="floor").item() == nine
        assert pool(ramp, 0.2, rounding="round").item() == ten
    assert weldon(ramp, 0.2, 1, rounding="floor").item() == nine
    assert weldon(ramp, 0.2, 1, rounding="round").item() == ten


def test_the_float_one_is_one_location_and_says_so():
    with pytest.warns(UserWarning, match=r'k=1\.0 is one location; write k=1 for one, k="all" for all'):
        pool = KMax(1.0)
    assert repr(pool) == "kmax(k=1)"
    assert pool(torch.tensor([[[1.0, 3.0]]])).item() == 3
    with pytest.warns(UserWarning, match=r"k_min=1\.0"):
        WELDON(3, 1.0)


@pytest.mark.parametrize("k", [float("nan"), float("inf"), float("-inf"), 2.5, "most", ""])
def test_k_without_meaning_is_refused(k):
    for make in (
        KMax,
        WELDON,
        WILDCAT,
        lambda k: WELDON(1, k),
        lambda k: WILDCAT(1, k),
        lambda k: kmax(torch.ones(1, 2, 2), k),
    ):
        with pytest.raises(ValueError, match=r"k(_max|_min)? is .*, expected"):
            make(k)


@pytest.mark.parametrize("k", [True, False, 1j, [1], torch.ones(1)])
def test_k_of_another_kind_is_refused(k):
    for make in (KMax, WELDON, WILDCAT, lambda k: WELDON(1, k)):
        with pytest.raises(TypeError, match=r"k(_max|_min)? is .*, expected a count, a proportion or"):
            make(k)


@pytest.mark.parametrize("k_max", [0, 0.0, -1, -0.5])
def test_selecting_no_maximum_is_refused(k_max):
    for make in (WELDON, WILDCAT, lambda k: weldon(torch.ones(1, 2, 2), k), lambda k: wildcat(torch.ones(1, 2, 2), k)):
        with pytest.raises(ValueError, match=r"k_max selects no location, expected .* try k_max=1"):
            make(k_max)


@pytest.mark.parametrize(
    "make", [KMax, WELDON, WILDCAT, lambda rounding: kmax(torch.ones(1, 2, 2), 2, rounding=rounding)]
)
def test_another_rounding_is_refused(make):
    with pytest.raises(ValueError, match="rounding is 'ceil', expected 'floor' or 'round'"):
        make(rounding="ceil")


def test_another_reduction_or_alpha_is_refused():
    with pytest.raises(ValueError, match="reduction is 'max', expected 'sum' or 'mean'"):
        WELDON(reduction="max")
    for alpha in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"alpha is .*, expected"):
            WILDCAT(alpha=alpha)
    with pytest.raises(TypeError, match="alpha is True, expected a number"):
        WILDCAT(alpha=True)
