"""What a reader without time is told: the verdict, the bill, reasons in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.domain import Budget, Evaluation, Interval, Job, Lengths, Plan, Reason, Slo, Workload
from guide.report.bill import bill, bill_changers, idle_usd_per_h, price_dates
from guide.report.misses import each_gpu, reasons
from guide.report.reasons import IN_WORDS, MEANING
from guide.report.verdict import verdict
from tests.handmade import GROUP, INFEASIBLE, MODEL, POOL, RECOMMENDATION, evaluation

LOAD = Workload(
    prompt=Lengths(mean_tokens=1000), output=Lengths(mean_tokens=256), requests_per_s=8.0
)
LIMITS = Slo(ttft_p95_s=0.5, tpot_p95_s=0.05, min_output_tokens_per_s=1000)
WHOLE = replace(
    POOL,
    price=replace(
        POOL.price,
        usd_per_gpu_h=3.0,
        billed_gpus=8,
        low_usd_per_gpu_h=2.0,
        high_usd_per_gpu_h=4.0,
        sellers=3,
    ),
)
BEST = replace(
    evaluation(replace(GROUP, pool=WHOLE)), gpus_billed=8, usd_per_h=24.0, headroom=0.23
)  # 6 of 8 GPUs


def asked(load: Workload = LOAD, slo: Slo = LIMITS, budget: Budget | None = None) -> Plan:
    return Plan(model=MODEL, workload=load, slo=slo, budget=budget or Budget(max_usd_per_h=30.0))


def test_the_verdict_is_one_sentence_of_plain_words():
    said = verdict(asked(), BEST).sentence
    assert said == (
        "Run Llama-3.1-8B-Instruct on 6 x H100-SXM with vLLM for $24.00 per hour. It serves 8 "
        "requests a second, within every limit."
    )
    assert verdict(asked(), BEST, rented=True).sentence.startswith(
        "Rent one node with 8 x H100-SXM and run Llama-3.1-8B-Instruct with vLLM for $24.00 per"
    )


def test_every_limit_has_a_chip_with_its_margin():
    chips = {chip.name: chip for chip in verdict(asked(), BEST).chips}
    assert set(chips) == {"First token", "Further tokens", "Output", "Cost"}
    first = chips["First token"]  # the upper end of the interval against the limit
    assert (first.value, first.limit, first.spare) == ("250 ms", "of 500 ms", "50% to spare")
    assert chips["Output"].spare == "90% more than asked"
    assert chips["Cost"].spare == "20% to spare"
    assert not any(chip.tight for chip in chips.values())
    (close,) = verdict(asked(slo=Slo(ttft_p95_s=0.26), budget=Budget()), BEST).chips
    assert close.tight
    bare = verdict(asked(slo=Slo(), budget=Budget()), BEST)
    assert bare.chips == ()
    assert not bare.sure  # extrapolated
    assert "limit" not in bare.sentence


@pytest.mark.parametrize(
    ("headroom", "says", "edge"),
    [
        (0.23, "Serves up to 1.23 x this load (9.84 requests/s)", False),
        (
            0.02,
            "Runs at its edge: serves only up to 1.02 x this load (8.16 requests/s); plan for a "
            "higher load, or watch it",
            True,
        ),
        (3.0, "Serves at least 4 x this load", False),
        (None, "", False),
    ],
)
def test_headroom_is_told_in_times_of_the_load(headroom: float | None, says: str, edge: bool):
    found = verdict(asked(), replace(BEST, headroom=headroom))
    assert (found.headroom, found.at_the_edge) == (says, edge)


def test_what_is_billed_and_unused_is_told():
    assert verdict(asked(), BEST).idle.startswith("Billed but unused: 2 of 8 GPUs ($6.00/h)")
    assert verdict(asked(), evaluation()).idle == ""
    assert idle_usd_per_h(BEST) == 6.0


def test_a_batch_is_told_by_its_time_and_its_bill():
    job = Job(seconds=7200, interval=Interval(lower=7000, upper=7920), usd=48.0)
    load = replace(LOAD, requests_per_s=None, offline=20_000)
    found = verdict(asked(load, Slo(job_s=9900)), replace(BEST, job=job))
    assert "$48.00 for the batch. It answers 20,000 requests in 2 h" in found.sentence
    assert (found.per_hour, found.per_month) == ("$48.00 for the batch", "")
    assert found.chips[0].spare == "20% to spare"


def test_the_bill_goes_from_the_hour_to_the_year_and_the_token():
    rows = dict(bill(BEST).rows)  # pyright: ignore[reportArgumentType]
    assert rows["per hour"] == "$24.00"
    assert rows["per month of 730 hours"] == f"${24 * 730:,}"
    assert rows["per year"] == f"${24 * 8760:,}"
    assert rows["per million output tokens"] == "$2.43"
    assert rows["per million tokens, prompts and answers together"] == "$0.49"
    assert "as of 2026-11-01" in price_dates(BEST)


def test_the_bill_says_what_would_change_it():
    said = " ".join(bill_changers(LOAD, BEST))
    assert "$16.00 to $32.00 per hour" in said
    assert "up to 9.84 requests/s" in said
    assert "2 of 8 GPUs that are billed stay free, $6.00 per hour" in said


def test_without_a_price_there_is_no_bill():
    unpriced = replace(GROUP, pool=replace(POOL, price=None))
    nothing = {"usd_per_h": None, "usd_per_million_output_tokens": None}
    found: Evaluation = replace(evaluation(unpriced), **nothing, usd_per_million_tokens=None)
    assert bill(found).rows == ()
    assert bill_changers(LOAD, found) == []
    assert price_dates(found) == "No price is known."
    assert verdict(asked(), found).per_hour == "no price known"


def test_every_reason_has_words_of_people():
    assert set(IN_WORDS) == set(MEANING) == set(Reason)
    assert len(set(IN_WORDS.values())) == len(IN_WORDS)


def test_useful_misses_come_first():
    candidate = RECOMMENDATION.rejections[0]
    lost = tuple(
        replace(candidate, reason=reason)
        for reason in (Reason.HEADS_NOT_DIVISIBLE, Reason.DOES_NOT_FIT, Reason.MISSES_TTFT)
    )
    told = [row[0] for row in reasons(replace(RECOMMENDATION, rejections=lost)).rows]
    assert told == [
        "first token too late",
        "does not fit in memory",
        "attention heads do not divide",
    ]


def test_each_gpu_shows_its_best_option():
    table = each_gpu(RECOMMENDATION)
    assert [(row[0], row[-1]) for row in table.rows] == [("H100-SXM", "recommended")]
    [lost] = each_gpu(INFEASIBLE).rows
    assert (lost[0], lost[-1]) == ("H100-SXM", "over the budget: costs too much")
