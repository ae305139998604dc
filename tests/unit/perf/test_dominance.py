"""The order of datasheets: who is believed, who moves, and what stays."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guide.catalog import load
from guide.domain import Gpu
from guide.models.precision import PRECISIONS
from guide.perf.dominance import at_least, constants_at, in_order, paces_of, roofs_of
from guide.perf.fits import PARAMETERS, constants, latent_centre
from guide.perf.terms import StepParams

GPUS = load().gpus
H100, H200, L40 = GPUS["H100-SXM"], GPUS["H200"], GPUS["L40"]
BF16 = PRECISIONS["bf16"]
PRIOR, _ = constants({q.name: latent_centre(q) for q in PARAMETERS})


def held(gpu: Gpu, *believed: tuple[Gpu, StepParams], width: float = 1.0) -> StepParams:
    return in_order(gpu, believed, BF16, width)


def test_datasheets_are_compared_in_every_roof():
    h100, h200 = roofs_of(H100, BF16), roofs_of(H200, BF16)
    assert at_least(h200, h100)
    assert not at_least(h100, h200)
    assert at_least(h100, h100)
    slow = roofs_of(replace(H200, fp8_flop_per_s=1.0), PRECISIONS["fp8"])
    assert not at_least(slow, roofs_of(H100, PRECISIONS["fp8"]))


@given(st.lists(st.floats(-2, 2), min_size=len(PARAMETERS), max_size=len(PARAMETERS)))
def test_paces_and_constants_say_the_same(moved: list[float]):
    latent = {q.name: latent_centre(q) + x for q, x in zip(PARAMETERS, moved, strict=True)}
    v, _ = constants(latent)
    roofs = roofs_of(H200, BF16)
    again = constants_at(paces_of(v, roofs, 2.0), v, roofs, 2.0)
    assert tuple(again) == pytest.approx(tuple(v))


def test_whoever_was_measured_more_is_believed():
    slow = PRIOR._replace(c0=2 * PRIOR.c0)
    better_moves = held(H200, (H100, PRIOR), (H200, slow))
    assert better_moves.c0 == pytest.approx(PRIOR.c0)
    lesser_moves = held(H100, (H200, slow), (H100, PRIOR))
    assert lesser_moves.c0 == pytest.approx(slow.c0)
    assert held(H200, (H200, slow), (H100, PRIOR)).c0 == pytest.approx(slow.c0)


def test_a_share_may_fall_as_far_as_the_roof_rises():
    """H200 reads no byte later than H100 with 3.35 / 4.8 of its share; a smaller one is lifted."""
    ratio = H100.hbm_bytes_per_s / H200.hbm_bytes_per_s
    enough = PRIOR._replace(share_kv=PRIOR.share_kv * ratio * 1.01)
    assert held(H200, (H100, PRIOR), (H200, enough)).share_kv == pytest.approx(enough.share_kv)
    little = PRIOR._replace(share_kv=PRIOR.share_kv * ratio * 0.5)
    lifted = held(H200, (H100, PRIOR), (H200, little)).share_kv
    assert lifted == pytest.approx(PRIOR.share_kv * ratio)


def test_one_between_two_keeps_to_both():
    middle = replace(H200, name="between", hbm_bytes_per_s=4e12)
    fast, slow = PRIOR._replace(cs=1e-6), PRIOR._replace(cs=9e-6)
    for cs, expected in ((1e-7, 1e-6), (5e-6, 5e-6), (1e-4, 9e-6)):
        found = held(middle, (H200, fast), (H100, slow), (middle, PRIOR._replace(cs=cs)))
        assert found.cs == pytest.approx(expected)


def test_decode_tokens_stay_below_the_peak():
    beyond = PRIOR._replace(share_c=0.6, decode_c=4.0, decode_h=0.5)
    for width in (0.5, 1.0, 2.0):
        v = held(H100, (H100, beyond), width=width)
        assert v.share_c == pytest.approx(0.6)
        assert v.share_c * v.decode_c * width**v.decode_h == pytest.approx(1.0)


def test_a_gpu_that_is_not_among_them_is_refused():
    with pytest.raises(ValueError, match="L40 is not among"):
        held(L40, (H100, PRIOR))
