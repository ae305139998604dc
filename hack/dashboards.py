"""Write the Grafana dashboards and the Prometheus rules of the chart: `make generate`.

Plain data: a dashboard is a title, variables and rows of panels; the operator's own expressions
(`guide.live.queries`) stand behind the panels, so that both read the same metrics.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from guide.live import queries as q
from guide.units import GIB
from hack.grafana import LIMIT, Panel, dashboard
from hack.rules import CACHE, RULES, WEIGHTS, rules

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "charts/guide/dashboards"

PLAN = 'namespace="$namespace", plan="$plan"'
WINDOW = "$__rate_interval"


def band(name: str, percentile: str = "") -> tuple[tuple[str, str], ...]:
    """The predicted band of a metric: the interval belongs to the p95."""
    extra = f', percentile="{percentile}"' if percentile else ""
    return tuple(
        (f'max by (namespace, plan) ({name}{{{PLAN}{extra}, bound="{bound}"}})', legend)
        for bound, legend in (
            ("upper", "predicted, upper"),
            ("estimate", "predicted"),
            ("lower", "predicted, lower"),
        )
    )


def latency(title: str, quantity: str) -> Panel:
    """The limit, the predicted p95 with its band, and for the load as it is; what was observed."""
    limit = f'guide_plan_slo_seconds{{{PLAN}, metric="{quantity}"}}'
    expected = f'guide_expected_{quantity}_seconds{{{PLAN}, statistic="p95"}}'
    return Panel(
        f"{title}: predicted and observed",
        "The plan's limit; predicted p95 with its 90 % interval, as planned, and for the load as "
        "it is (from status.observed). Observed quantiles are as exact as the server's buckets; "
        "the mean is exact. Of FastGen, TTFT and TPOT are those of streamed answers.",
        "s",
        (
            (f"max by (namespace, plan) ({limit})", LIMIT),
            *band(f"guide_predicted_{quantity}_seconds", "p95"),
            (f"max by (namespace, plan) ({expected})", "predicted for this load"),
            (q.quantile(0.95, quantity, PLAN, WINDOW), "observed p95"),
            (q.quantile(0.5, quantity, PLAN, WINDOW), "observed p50"),
            (q.mean(quantity, PLAN, WINDOW), "observed mean"),
        ),
    )


def plan_panels() -> list[Panel]:
    """What a plan promised, and what it does."""
    hourly = f"max by (namespace, plan) (guide_plan_cost_usd_per_hour{{{PLAN}}})"
    return [
        latency("Time to first token", "ttft"),
        latency("Time per output token", "tpot"),
        latency("Time to last token", "e2e"),
        Panel(
            "Output tokens per second: predicted and observed",
            "Of the whole deployment.",
            "short",
            (
                *band("guide_predicted_output_tokens_per_second"),
                (q.output_tokens_per_second(PLAN, WINDOW), "observed"),
            ),
        ),
        Panel(
            "Requests per second: predicted and observed",
            "Requests that ended.",
            "reqps",
            (
                *band("guide_predicted_requests_per_second"),
                (q.requests_per_second(PLAN, WINDOW), "observed"),
            ),
        ),
        Panel(
            "Error ratio",
            "Requests that were aborted or failed, of all that ended.",
            "percentunit",
            ((q.error_ratio(PLAN, WINDOW), "errors"),),
        ),
        Panel(
            "Queue",
            "Requests that wait and requests in batches.",
            "short",
            ((q.waiting(PLAN), "waiting"), (q.running(PLAN), "running")),
        ),
        Panel(
            "KV cache in use",
            "The fullest pod. FastGen does not tell.",
            "percentunit",
            ((q.kv_usage(PLAN), "KV cache"),),
        ),
        Panel(
            "Memory of a GPU: predicted and observed",
            "What servers say of their start, where they tell it (SGLang since 0.5.17).",
            "bytes",
            (
                (f"max by (namespace, plan) ({WEIGHTS.predicted}{{{PLAN}}})", "weights, predicted"),
                (WEIGHTS.observed(PLAN), "weights"),
                (q.at_start("kv_gib", PLAN, GIB), "KV cache"),
                (q.at_start("graphs_gib", PLAN, GIB), "captured graphs"),
            ),
        ),
        Panel(
            "KV cache of a replica: predicted and observed",
            "Tokens that it holds, as servers say at their start (SGLang since 0.5.6).",
            "short",
            (
                (f"max by (namespace, plan) ({CACHE.predicted}{{{PLAN}}})", "predicted"),
                (CACHE.observed(PLAN), "observed"),
            ),
        ),
        Panel(
            "Start of a server",
            "Until it serves, as it tells itself; of the frameworks that do.",
            "s",
            ((q.at_start("start_s", PLAN), "start"),),
        ),
        Panel("Cost per hour", "US dollars.", "currencyUSD", ((hourly, "USD/h"),)),
        Panel(
            "Cost per million output tokens",
            "At the observed output.",
            "currencyUSD",
            (
                (
                    f"{hourly} / (3600 * ({q.output_tokens_per_second(PLAN, WINDOW)} > 0) / 1e6)",
                    "USD per million tokens",
                ),
            ),
        ),
        Panel(
            "Time of the batch: predicted",
            "Of a plan with workload.offline, on running servers; Jobs tell how far it is.",
            "s",
            band("guide_predicted_job_seconds"),
        ),
        Panel(
            "Cost of the batch",
            "US dollars for all of a plan with workload.offline.",
            "currencyUSD",
            ((f"max by (namespace, plan) (guide_plan_cost_usd_per_job{{{PLAN}}})", "USD"),),
        ),
        Panel(
            "Verdict",
            "Whether the load moved or the prediction was off; status.observed.verdict says more.",
            "none",
            ((f"guide_plan_verdict{{{PLAN}}}", "{{verdict}}"),),
            "state-timeline",
        ),
        Panel(
            "Conditions",
            "1 is true, 0 false, -1 unknown.",
            "none",
            ((f"guide_plan_condition{{{PLAN}}}", "{{type}}"),),
        ),
        Panel(
            "Observed lengths",
            "Mean tokens of prompts and outputs: a load that was not planned for explains drift.",
            "short",
            (
                *(
                    (f'guide_planned_load{{{PLAN}, quantity="{name}_tokens"}}', f"{name}, planned")
                    for name in ("prompt", "output")
                ),
                (q.mean("prompt", PLAN, WINDOW), "prompt"),
                (q.mean("output", PLAN, WINDOW), "output"),
            ),
        ),
    ]


def fleet_panels() -> list[Panel]:
    """All plans and all GPUs."""
    return [
        Panel(
            "GPUs by pool and state",
            "What the operator finds in the cluster.",
            "short",
            (("sum by (pool, gpu, state) (guide_inventory_gpus)", "{{pool}} {{state}}"),),
        ),
        Panel(
            "Cost per hour",
            "Of the recommended deployments.",
            "currencyUSD",
            (
                ("sum(guide_plan_cost_usd_per_hour)", "all plans"),
                ("sum by (namespace) (guide_plan_cost_usd_per_hour)", "{{namespace}}"),
            ),
        ),
        Panel(
            "GPUs asked by plans",
            "Of the recommended deployments.",
            "short",
            (("sum by (namespace, plan) (guide_plan_gpus)", "{{namespace}}/{{plan}}"),),
        ),
        Panel(
            "Plans not ready",
            "How many plans have Ready=False; 0 is good.",
            "short",
            (
                (
                    'count(guide_plan_condition{type="Ready"} < 1) or '
                    '0 * count(guide_plan_condition{type="Ready"})',
                    "not ready",
                ),
            ),
        ),
        Panel(
            "Planning time",
            "Of one recommendation.",
            "s",
            (
                (
                    "histogram_quantile(0.95, sum by (le) "
                    f"(rate(guide_planning_duration_seconds_bucket[{WINDOW}])))",
                    "p95",
                ),
            ),
        ),
        Panel(
            "Failed attempts",
            "Per second, by reason.",
            "short",
            (
                (
                    f"sum by (reason) (rate(guide_reconcile_errors_total[{WINDOW}]))",
                    "{{reason}}",
                ),
            ),
        ),
    ]


def error(quantity: str, metric: str) -> str:
    """|observed p95 / predicted p95 - 1| by model, GPU and framework."""
    observed = q.quantile(0.95, quantity, "", WINDOW)
    predicted = f'{metric}{{percentile="p95", bound="estimate"}}'
    ratio = f"({observed}) / on (namespace, plan) group_right () {predicted}"
    return f"avg by (model, gpu, framework) (abs({ratio} - 1))"


def accuracy_panels() -> list[Panel]:
    """How wrong predictions are, and what was learnt."""
    legend = "{{model}} {{gpu}} {{framework}}"
    errors = [
        Panel(
            f"Error of the predicted p95: {title}",
            "|observed / predicted - 1|, mean over the plans of a model, GPU and framework.",
            "percentunit",
            ((error(quantity, f"guide_predicted_{quantity}_seconds"), legend),),
        )
        for quantity, title in (
            ("ttft", "time to first token"),
            ("tpot", "time per output token"),
            ("e2e", "time to last token"),
        )
    ]
    return [
        *errors,
        Panel(
            "Plans that drift",
            "1 where the condition PredictionDrift is true.",
            "none",
            (('guide_plan_condition{type="PredictionDrift"}', "{{namespace}}/{{plan}}"),),
        ),
        Panel(
            "Learnt corrections",
            "Factors on the fitted times: 1 is none. ConfigMap guide-corrections holds them.",
            "none",
            (("guide_correction_ratio", "{{key}} {{part}}"),),
        ),
    ]


DASHBOARDS = {
    "guide-plan.json": ("GUIDE / Plan", plan_panels, True),
    "guide-fleet.json": ("GUIDE / Fleet", fleet_panels, False),
    "guide-accuracy.json": ("GUIDE / Accuracy", accuracy_panels, False),
}


def files() -> dict[Path, str]:
    """Path -> text of everything written here."""
    texts = {
        FOLDER / name: json.dumps(
            dashboard(name.removesuffix(".json"), title, panels(), per_plan), indent=2
        )
        + "\n"
        for name, (title, panels, per_plan) in DASHBOARDS.items()
    }
    head = "# Written by `make generate`; do not edit. A plain rules file of Prometheus.\n"
    texts[RULES] = head + yaml.safe_dump(rules(), sort_keys=False, width=100)
    return texts


def main() -> None:
    """Write the files."""
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
