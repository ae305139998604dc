"""A replica with data-parallel attention: ranks with requests of their own, in lock-step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guide.catalog import load
from guide.models.precision import PRECISIONS
from guide.perf.fits import PARAMETERS, constants, latent_centre
from guide.perf.ops import Layout
from guide.perf.step import fold
from guide.simulate.cost import LayoutCost
from guide.simulate.ranks import RankedCost

CATALOG = load()
ARCH = CATALOG.models["deepseek-ai/DeepSeek-V3"]
PRIOR, _ = constants({q.name: latent_centre(q) for q in PARAMETERS})


def rank_of(ranks: int) -> LayoutCost:
    layout = Layout(attention_ranks=ranks, expert_parallel=ranks)
    return LayoutCost(fold(ARCH, CATALOG.gpus["H200"], PRECISIONS["fp8"], layout), PRIOR)


RANKS = st.sampled_from([2, 4, 8])


@given(decodes=st.integers(1, 200), prompts=st.integers(1, 9), length=st.integers(1, 4000))
def test_one_rank_is_a_replica_without_ranks(decodes: int, prompts: int, length: int):
    plain, ranked = rank_of(1), RankedCost(rank_of(1), 1)
    pairs, context = prompts * length * length / 2, 700.0 * decodes
    step = (prompts * length, prompts, pairs, 0.0, decodes, context, 0.0, decodes + prompts)
    assert ranked.prompt_step(*step) == plain.prompt_step(*step)
    assert ranked.decode_run(3, decodes, context, 0.0) == plain.decode_run(3, decodes, context, 0.0)


@given(ranks=RANKS, each=st.integers(1, 200), length=st.integers(1, 4000))
def test_ranks_with_equal_work_take_the_time_of_one(ranks: int, each: int, length: int):
    one, all_ = rank_of(ranks), RankedCost(rank_of(ranks), ranks)
    run = one.decode_run(2, each, 700.0 * each, 0.0)
    assert abs(all_.decode_run(2, ranks * each, 700.0 * ranks * each, 0.0) / run - 1) < 1e-9
    step = (length, 1, length * length / 2, 0.0, each, 700.0 * each, 0.0, each + 1)
    whole = tuple(ranks * value for value in step)
    assert abs(all_.prompt_step(*whole) / one.prompt_step(*step) - 1) < 1e-9  # pyright: ignore[reportArgumentType]


@given(ranks=RANKS, decodes=st.integers(1, 500))
def test_another_sequence_never_makes_a_step_shorter(ranks: int, decodes: int):
    cost = RankedCost(rank_of(ranks), ranks)
    fixed, token_s, _ = cost.decode_coefficients(decodes)
    more, _, _ = cost.decode_coefficients(decodes + 1)
    assert more >= fixed
    # the rank with the longest share reads at least the mean of all
    assert token_s * ranks >= cost.decode_coefficients(ranks * decodes)[1] * ranks * (1 - 1e-9)


@given(ranks=RANKS, decodes=st.integers(0, 100), length=st.integers(1, 4000))
def test_all_ranks_wait_for_the_prompt_of_one(ranks: int, decodes: int, length: int):
    cost, alone = RankedCost(rank_of(ranks), ranks), rank_of(ranks)
    step = (length, 1, length * length / 2, 0.0, decodes, 700.0 * decodes, 0.0, decodes + 1)
    seconds = cost.prompt_step(*step)
    if decodes:
        assert seconds > cost.decode_run(1, decodes, 700.0 * decodes, 0.0)
    # its experts see the prompt once, not once for every rank
    own = -(-decodes // ranks)
    padded = alone.prompt_step(length, 1, length * length / 2, 0.0, own, 700.0 * own, 0.0, own + 1)
    assert seconds <= padded * (1 + 1e-9)
