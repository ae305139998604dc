"""Chunks of prompts other than the framework's own: where a preference gains by them, and why."""

from __future__ import annotations

from collections.abc import Sequence

from guide.domain import Catalog, Evaluation, ReplicaGroup
from guide.frameworks import FRAMEWORKS
from guide.search.evaluate import Member, Study, evaluate
from guide.search.explore import Ledger
from guide.search.goal import Aim, Goal
from guide.search.knobs import verdict
from guide.search.operating_point import with_batch, with_chunk
from guide.search.rank import NOTICED, identity, preferred
from guide.search.sizing import Prospect
from guide.search.space import modelled_release


def better_chunk(
    best: Evaluation, prospects: Sequence[Prospect], goal: Goal, study: Study, ledger: Ledger
) -> Evaluation:
    """The same layout with the chunk that its preference likes best by 2 %; the bill knows no
    chunk, so that only speed and output are asked."""
    group, plan = best.groups[0].group, study.plan
    found = next((p.replica for p in prospects if p.replica.shape.key == group.key), None)
    if goal.aim not in (Aim.LATENCY, Aim.OUTPUT) or len(best.groups) > 1 or found is None:
        return best
    chosen = best
    for tokens in found.chunks:
        one = with_chunk(found, tokens, plan, study.catalog)
        if one is None:
            continue
        if group.limits.max_num_seqs < one.limits.max_num_seqs:
            one = with_batch(one, group.limits.max_num_seqs, plan, study.catalog)
        members = (Member(replica=one, replicas=group.replicas),)
        other = evaluate(members, study)
        gain = preferred(chosen, goal) / preferred(other, goal) - 1
        if gain > NOTICED and verdict(other, members, plan) is None:
            chosen = other
    ledger.kept[identity(chosen)] = chosen
    return chosen


def own_chunk(group: ReplicaGroup, catalog: Catalog) -> int:
    """Tokens of a step that the framework takes by itself: the base value of segments (P7)."""
    release = modelled_release(catalog, group.framework)
    layout = (group.model, group.tp, group.pp)
    limits = FRAMEWORKS[group.framework].limits_of(release, group.gpu, *layout, 1)
    return limits.max_num_batched_tokens


def about_chunk(best: Evaluation, catalog: Catalog) -> list[str]:
    """Why a step of the best holds other than the framework's own number of tokens, or decodes
    beside prompts.
    """
    said: list[str] = []
    for group in best.candidate.groups:
        if group.limits.mixed_chunk:
            said.append(
                f"{group.framework} on {group.pool.name} runs decodes in the steps of prompts "
                "(--enable-mixed-chunk): running answers wait less for prompts, without which TPOT "
                "would miss its limit; no measurement of this flag stands behind it"
            )
        tokens, own = group.limits.max_num_batched_tokens, own_chunk(group, catalog)
        if tokens == own:
            continue
        why = (
            "prompts are cut smaller, so that running answers wait less for them: TPOT falls, TTFT "
            "rises"
            if tokens < own
            else "prompts share larger steps and end sooner: TTFT falls, TPOT rises"
        )
        said.append(
            f"a step of {group.framework} on {group.pool.name} holds {tokens:,} tokens instead of "
            f"its own {own:,} (max-num-batched-tokens): {why}"
        )
    return said
