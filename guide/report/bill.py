"""The bill for whoever pays it: by month, year and token, and what would change it (pure)."""

from __future__ import annotations

from guide.domain import Evaluation, Workload
from guide.report.sentences import HOURS_PER_MONTH
from guide.report.table import Table
from guide.search.headroom import MOST_TIMES
from guide.search.pricing import billed_gpus
from guide.units import format_rate, format_usd

MONTHS = 12


def bill(best: Evaluation) -> Table:
    """What a deployment costs; no rows where no price is known."""
    return Table(
        title="Bill",
        heads=("what", "USD"),
        rows=(*_by_time(best), *_by_token(best)),
        numeric=(1,),
    )


def _by_time(best: Evaluation) -> list[tuple[str, str]]:
    usd = best.usd_per_h
    if best.job is not None:
        whole = best.job.usd
        return [] if whole is None else [("the whole batch", format_usd(whole))]
    if usd is None:
        return []
    month = usd * HOURS_PER_MONTH
    return [
        ("per hour", format_usd(usd)),
        (f"per month of {HOURS_PER_MONTH} hours", f"${month:,.0f}"),
        ("per year", f"${month * MONTHS:,.0f}"),
    ]


def _by_token(best: Evaluation) -> list[tuple[str, str]]:
    output, both = best.usd_per_million_output_tokens, best.usd_per_million_tokens
    if output is None or both is None:
        return []
    return [
        ("per million tokens, prompts and answers together", format_usd(both)),
        ("per million output tokens", format_usd(output)),
    ]


def price_dates(best: Evaluation) -> str:
    """Which prices count, and from when they are."""
    named = dict.fromkeys(
        f"{item.group.gpu.name} {format_usd(price.usd_per_gpu_h)} per GPU hour ({price.source}; as "
        f"of {price.as_of})"
        for item in best.groups
        if (price := item.group.pool.price) is not None
    )
    return f"Prices: {'; '.join(named)}." if named else "No price is known."


def bill_changers(workload: Workload, best: Evaluation) -> list[str]:
    """What would make the bill another one."""
    if best.usd_per_h is None:
        return []
    return [*_sellers(best), *_load(workload, best), *_whole_nodes(best)]


def _sellers(best: Evaluation) -> list[str]:
    """Another seller: the bill at the lowest and the highest price that was found."""
    low = high = 0.0
    for item in best.groups:
        group, price = item.group, item.group.pool.price
        if price is None or price.low_usd_per_gpu_h is None or price.high_usd_per_gpu_h is None:
            return []
        gpus = billed_gpus(group.pool, group.gpus_per_replica, group.replicas)
        low += gpus * price.low_usd_per_gpu_h
        high += gpus * price.high_usd_per_gpu_h
    return [
        f"Seller: {format_usd(low)} to {format_usd(high)} per hour at those that were compared."
    ]


def _load(workload: Workload, best: Evaluation) -> list[str]:
    """Nodes cost the same whether they work or not, until the load needs more of them."""
    offered, more = workload.requests_per_s, best.headroom
    if best.job is not None or offered is None:
        return []
    said = "Load: the bill stays the same at less load, so that each token costs more"
    if more is None:
        return [f"{said}."]
    least = " at least" if more >= MOST_TIMES - 1 else ""
    reach = format_rate((1 + more) * offered)
    return [f"{said}; it holds up to{least} {reach} requests/s, beyond which it grows."]


def idle_usd_per_h(best: Evaluation) -> float | None:
    """Dollars per hour of GPUs that are billed and stay free; None without a price."""
    total = 0.0
    for item in best.groups:
        group, price = item.group, item.group.pool.price
        if price is None:
            return None
        billed = billed_gpus(group.pool, group.gpus_per_replica, group.replicas)
        total += (billed - group.gpus) * price.usd_per_gpu_h
    return total


def _whole_nodes(best: Evaluation) -> list[str]:
    idle, usd = best.gpus_billed - best.gpus, idle_usd_per_h(best)
    if not idle or not usd:
        return []
    return [
        f"Nodes: {idle} of {best.gpus_billed} GPUs that are billed stay free, {format_usd(usd)} "
        "per hour; smaller nodes or other work on them would save it."
    ]
