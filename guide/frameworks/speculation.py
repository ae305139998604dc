"""How servers are told to speculate: the methods in the words of each framework.

Sources: `vllm.config.speculative` of vLLM; the parser of SGLang (`guide.frameworks.sglang_flags`).
"""

from __future__ import annotations

import json

from guide.domain import Speculation, SpeculationMethod

NGRAM_TOKENS = 4  # the longest run of tokens that is looked up
_VLLM = {
    SpeculationMethod.MTP: "mtp",
    SpeculationMethod.EAGLE: "eagle3",
    SpeculationMethod.NGRAM: "ngram",
    SpeculationMethod.DRAFT_MODEL: "draft_model",
}
_SGLANG = {
    SpeculationMethod.MTP: "NEXTN",
    SpeculationMethod.EAGLE: "EAGLE3",
    SpeculationMethod.NGRAM: "NGRAM",
    SpeculationMethod.DRAFT_MODEL: "STANDALONE",
}


def vllm_config(asked: Speculation) -> str:
    """The JSON of --speculative-config; heads of EAGLE are those of EAGLE-3."""
    fields: dict[str, str | int] = {
        "method": _VLLM[asked.method],
        "num_speculative_tokens": asked.tokens,
    }
    if asked.draft_name is not None:
        fields["model"] = asked.draft_name
    if asked.method is SpeculationMethod.NGRAM:
        fields["prompt_lookup_max"] = NGRAM_TOKENS
    return json.dumps(fields, separators=(",", ":"))


def sglang_args(asked: Speculation) -> tuple[str, ...]:
    """One chain of drafts, no tree: what is modelled. Its last token is the model's own."""
    args = [
        f"--speculative-algorithm={_SGLANG[asked.method]}",
        f"--speculative-num-draft-tokens={asked.queries}",
    ]
    if asked.method is not SpeculationMethod.NGRAM:
        args += [f"--speculative-num-steps={asked.tokens}", "--speculative-eagle-topk=1"]
    if asked.draft_name is not None:
        args.append(f"--speculative-draft-model-path={asked.draft_name}")
    return tuple(args)
