"""The fields of the form: where each stands in an InferencePlan, its words, its unit, presets."""

from __future__ import annotations

from guide.frameworks import FRAMEWORKS
from guide.web.entries import Choice, Field, Group
from guide.web.savings import PREFIXES, SPECULATION

REQUESTS = Group(
    title="Requests",
    hint="What one request looks like, in tokens: about four characters of English each.",
    intake="by_example.html",
    fields=(
        Field(
            name="input",
            path="spec.workload.inputTokens.mean",
            label="Prompt, mean",
            unit="tokens",
            hint="Question, instructions and documents together.",
        ),
        Field(
            name="input95",
            path="spec.workload.inputTokens.p95",
            label="Prompt, long ones",
            unit="tokens",
            hint="95 of 100 prompts are shorter (p95). Empty: twice the mean.",
        ),
        Field(
            name="output",
            path="spec.workload.outputTokens.mean",
            label="Answer, mean",
            unit="tokens",
            hint="What the model writes.",
        ),
        Field(
            name="output95",
            path="spec.workload.outputTokens.p95",
            label="Answer, long ones",
            unit="tokens",
            hint="95 of 100 answers are shorter (p95). Empty: twice the mean.",
        ),
    ),
)
LOAD = Group(
    title="Load",
    hint="Fill in one of the three, or count people, or state a day below.",
    intake="by_people.html",
    fields=(
        Field(
            name="rps",
            path="spec.workload.requestsPerSecond",
            label="Requests per second",
            unit="requests/s",
            hint="Requests arrive on their own, as from many users.",
            whole=False,
        ),
        Field(
            name="users",
            path="spec.workload.concurrency",
            label="Requests at a time",
            unit="requests",
            hint="Always this many in flight, as from a fixed number of users.",
        ),
        Field(
            name="batch",
            path="spec.workload.offline.requests",
            label="A batch of",
            unit="requests",
            hint="All there at the start, such as documents over night; nobody waits for one.",
        ),
        Field(
            name="within",
            path="spec.workload.offline.completeWithin",
            label="Batch done within",
            hint="Such as 6h or 1h30m. Optional.",
            text=True,
        ),
    ),
)
DAY = Group(
    title="Load over the day",
    hint="Instead of requests per second, for a deployment that is to be scaled: the first three, "
    "or a recorded day, in requests per second.",
    folded=True,
    fields=tuple(
        Field(
            name=name,
            path=f"spec.workload.dayProfile.{field}",
            label=label,
            unit="requests/s",
            hint=hint,
            whole=False,
            many=name == "dayparts",
        )
        for name, field, label, hint in (
            ("daylow", "low", "Quietest moment", "The fewest replicas serve it."),
            ("daymean", "mean", "Mean of the day", "The bill of the day follows it."),
            ("daypeak", "peak", "Peak", "Every limit holds there."),
            (
                "dayparts",
                "requestsPerSecond",
                "Or a recorded day",
                "Means of equal parts of it, such as 24 hours: 2, 1.5, 4 and so on.",
            ),
        )
    ),
)
LIMITS = Group(
    title="Service levels",
    hint="Each is optional and holds for 95 of 100 requests (p95).",
    fields=(
        Field(
            name="ttft",
            path="spec.slo.ttftP95Milliseconds",
            label="First token within",
            unit="ms",
            hint="TTFT: how long until the answer begins.",
        ),
        Field(
            name="tpot",
            path="spec.slo.tpotP95Milliseconds",
            label="Each further token within",
            unit="ms",
            hint="TPOT: 50 ms is faster than people read.",
        ),
        Field(
            name="e2e",
            path="spec.slo.e2eP95Milliseconds",
            label="Whole answer within",
            unit="ms",
            hint="From arrival to the last token.",
        ),
        Field(
            name="throughput",
            path="spec.slo.minOutputTokensPerSecond",
            label="Throughput at least",
            unit="tokens/s",
            hint="Output tokens of all requests together.",
        ),
    ),
)
SPENDING = Group(
    title="Budget and preference",
    hint="",
    fields=(
        Field(
            name="usd",
            path="spec.budget.maxHourlyUSD",
            label="Spend at most",
            unit="USD/h",
            hint="Optional.",
            whole=False,
        ),
        Field(
            name="gpus",
            path="spec.budget.maxGPUs",
            label="Use at most",
            unit="GPUs",
            hint="Optional.",
        ),
        Choice(
            name="prefer",
            path="spec.preference",
            label="Prefer",
            hint="Among all that keep every limit.",
            options=(
                ("Cost", "the lowest cost"),
                ("Latency", "the lowest latency"),
                ("Throughput", "the highest throughput"),
            ),
        ),
        Choice(
            name="precision",
            path="spec.precisionTolerance",
            label="Precision",
            hint="Fewer bits are cheaper and may cost quality.",
            options=(
                ("Lossless", "as published, nothing given up"),
                ("FP8", "8 bits are acceptable"),
                ("INT4", "4 bits are acceptable"),
            ),
        ),
    ),
)
MORE = Group(
    title="More settings",
    hint="Most questions need none of these.",
    folded=True,
    fields=(
        Field(
            name="context",
            path="spec.workload.maxContextTokens",
            label="Longest request",
            unit="tokens",
            hint="Prompt plus answer that must be accepted.",
        ),
        Field(
            name="most",
            path="spec.workload.maxOutputTokens",
            label="Longest answer allowed",
            unit="tokens",
            hint="What clients send as max_tokens.",
        ),
        Field(
            name="cv",
            path="spec.workload.arrivalCV",
            label="Burstiness",
            hint="1 is random (Poisson); higher comes in bursts. With requests per second.",
            whole=False,
        ),
        Field(
            name="apart",
            path="spec.disaggregation.networkGbitPerSecond",
            label="Compare prefill and decode apart: network of a node",
            unit="Gbit/s",
            hint="Two pools against the best answer. With requests per second.",
        ),
        Choice(
            name="framework",
            path="spec.frameworks",
            label="Framework",
            hint=" ".join(f"{f.caveat}." for f in FRAMEWORKS.values() if f.caveat),
            options=(
                ("", " or ".join(FRAMEWORKS)),
                *((name, f"{name} only") for name in FRAMEWORKS),
            ),
        ),
        *(
            Field(
                name=framework.image_field,
                path=f"spec.deployment.{framework.image_field}",
                label=f"Image for {framework.name}",
                hint=f"{framework.name} has no official image; manifests need one.",
                text=True,
            )
            for framework in FRAMEWORKS.values()
            if not framework.image_vendors
        ),
        Field(
            name="name",
            path="metadata.name",
            label="Name of the plan",
            hint="Lower-case letters, digits and dashes.",
            text=True,
        ),
    ),
)
GROUPS = (REQUESTS, LOAD, DAY, LIMITS, SPENDING, PREFIXES, SPECULATION, MORE)
ENTRIES: dict[str, Field | Choice] = {entry.name: entry for g in GROUPS for entry in g.fields}
BY_PATH = {entry.path: entry.name for entry in ENTRIES.values()} | {
    "spec.model.name": "model",
    "spec.workload.inputTokens": "input95",
    "spec.workload.outputTokens": "output95",
    "spec.workload": "rps",
    "spec.workload.dayProfile": "daypeak",
    "spec.workload.prefixes": "prefixgroups",
    "spec.workload.speculation": "specmethod",
}
DEFAULTS = {"prefer": "Cost", "precision": "Lossless", "name": "plan"}
