"""The groups of the form on work that servers save: prompts seen before, drafted tokens."""

from __future__ import annotations

from guide.web.entries import Choice, Field, Group

PREFIXES = Group(
    title="Prompts that begin alike",
    hint="A system prompt, documents, conversations. State their groups, and the answer works out "
    "what is found again behind each router; or state the share that hits.",
    folded=True,
    fields=(
        Field(
            name="prefixgroups",
            path="spec.workload.prefixes.groups",
            label="Different beginnings",
            unit="groups",
            hint="In use at a time: documents, or with several turns conversations.",
        ),
        Field(
            name="prefixshared",
            path="spec.workload.prefixes.sharedTokens",
            label="Which all of a group share",
            unit="tokens",
            hint="Below the mean prompt.",
        ),
        Field(
            name="prefixturns",
            path="spec.workload.prefixes.turns",
            label="Requests of a conversation",
            unit="turns",
            hint="Each repeats what was said before. Empty: one.",
        ),
        Choice(
            name="prefixrouter",
            path="spec.workload.prefixes.router",
            label="Requests go to",
            hint="Every other is compared in the answer.",
            options=(
                ("", "any replica, as a Service deals them out"),
                ("SessionAffinity", "the replica that a hash of the group names"),
                ("PrefixAware", "the replica that has seen most of the prompt"),
            ),
        ),
        Field(
            name="prefix",
            path="spec.workload.prefixCacheHitPercent",
            label="Or: prompt tokens seen before",
            unit="%",
            hint="Found in the prefix cache, as with a shared system prompt.",
        ),
    ),
)
SPECULATION = Group(
    title="Speculative decoding",
    hint="Steps that verify drafted tokens; the answer says when that pays.",
    folded=True,
    fields=(
        Choice(
            name="specmethod",
            path="spec.workload.speculation.method",
            label="Drafts come from",
            hint="MTP needs a model with prediction layers.",
            options=(
                ("", "no speculation"),
                ("MTP", "the model's prediction layers (MTP)"),
                ("EAGLE", "an EAGLE-3 head"),
                ("NGram", "n-grams of the text"),
                ("DraftModel", "a smaller model"),
            ),
        ),
        Field(
            name="spectokens",
            path="spec.workload.speculation.tokens",
            label="Drafted for a step",
            unit="tokens",
            hint="1 to 16.",
        ),
        Field(
            name="specaccept",
            path="spec.workload.speculation.acceptancePercent",
            label="Drafts that hold",
            unit="%",
            hint="Yours to measure. One share for all positions, or one each: 80, 70, 60.",
            many=True,
        ),
        Field(
            name="specdraft",
            path="spec.workload.speculation.draftModel",
            label="Checkpoint that drafts",
            hint="The EAGLE head or the smaller model.",
            text=True,
        ),
    ),
)
