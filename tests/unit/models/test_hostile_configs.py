"""A config.json meant to do harm, through the reader to the command line, the page and the status.

GUIDE_HOSTILE_PLANS sets the number of files of each test.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from guide.catalog import load
from guide.cli.app import app
from guide.errors import LONGEST, SpecError, shown
from guide.spec import load_plan, resolve_plan
from guide.web.settings import Settings
from guide_operator import reconcile
from guide_operator.reconcile import Observed
from guide_operator.status import INVALID_SPEC
from tests.llama_config import LLAMA
from tests.web_questions import CHAT, client_of, field_error

ROOT = Path(__file__).resolve().parents[3]
CATALOG = load()
PLAN = load_plan((ROOT / "examples/chat.yaml").read_text())
DIGITS = "9" * 5000
NAME = "x" * 900_000
LIST_AS_TYPE = {**LLAMA, "rope_scaling": {"factor": 8.0, "rope_type": ["x"]}}
HARMFUL = {
    "a list as a name": json.dumps(LIST_AS_TYPE),
    "more digits than Python reads": json.dumps(LLAMA).replace("4096", DIGITS, 1),
    "a long name": json.dumps({**LLAMA, "architectures": [NAME], "hidden_size": None}),
    "a long value": json.dumps({**LLAMA, "hidden_size": NAME}),
    "a long quantisation": json.dumps({**LLAMA, "quantization_config": {"quant_method": NAME}}),
    "a billion layers": json.dumps(
        {**LLAMA, "architectures": ["Qwen3MoeForCausalLM"], "num_hidden_layers": 10**9}
    ),
}
many = settings(
    max_examples=int(os.environ.get("GUIDE_HOSTILE_PLANS", "200")),
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
harmful = pytest.mark.parametrize("text", HARMFUL.values(), ids=HARMFUL.keys())
architectures = sorted({model.architecture for model in CATALOG.models.values()})
odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([NAME, "\x1b[2J", "yarn", "fp8", "modelopt", "quark", "compressed-tensors"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["rope_type", "factor", "quant_method", "bits", "weights", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
fields = sorted(
    {
        *LLAMA,
        *("text_config", "vision_config", "quantization_config", "layer_types", "sliding_window"),
        *("num_experts", "num_local_experts", "n_routed_experts", "num_experts_per_tok"),
        *("moe_intermediate_size", "mlp_only_layers", "decoder_sparse_step", "kv_lora_rank"),
        *("first_k_dense_replace", "head_dim", "dtype", "block_configs", "n_shared_experts"),
        *("num_key_value_heads_per_layer", "sliding_window_pattern", "attention_bias"),
    }
)


@st.composite
def configs(draw: st.DrawFn) -> str:
    """A real config.json of any family, with some of its fields replaced or left out."""
    value: dict[str, Any] = {**LLAMA, "architectures": [draw(st.sampled_from(architectures))]}
    value |= draw(st.dictionaries(st.sampled_from(fields), odd, max_size=4))
    for name in draw(st.lists(st.sampled_from(fields), max_size=2)):
        value.pop(name, None)
    return json.dumps(value)


def problem(text: str) -> str:
    """What is wrong with a config.json in one sentence, or nothing."""
    try:
        resolve_plan(PLAN, CATALOG, text)
    except SpecError as error:
        sentence = str(error)
        assert sentence.isprintable()
        assert 0 < len(sentence) <= LONGEST
        return sentence
    return ""


@harmful
def test_what_is_wrong_is_said_in_one_short_sentence(text: str):
    assert problem(text)
    assert len(problem(text)) < 2000


@many
@given(configs() | st.text(max_size=40))
@example(json.dumps({**LLAMA, "rope_scaling": {"type": {}, "factor": 2}}))
def test_any_config_is_read_or_refused_and_its_status_can_be_written(text: str):
    sentence = problem(text)
    if not sentence:
        return
    seen = Observed(uid="u", generation=1, status={}, config_map=None)
    made = reconcile.refuse(INVALID_SPEC, sentence, seen, "2026-01-01T00:00:00Z")
    assert made.status is not None
    assert all(len(each["message"]) <= LONGEST for each in made.status["conditions"])
    json.dumps(made.status).encode()


def test_no_message_of_a_status_is_longer_than_the_api_server_takes():
    """Whatever it comes from: and the same message again is no news."""
    seen = Observed(uid="u", generation=1, status={}, config_map=None)
    first = reconcile.refuse(INVALID_SPEC, NAME, seen, "2026-01-01T00:00:00Z")
    assert first.status is not None
    assert max(len(c["message"]) for c in first.status["conditions"]) == LONGEST
    assert len(first.events[0].message) == LONGEST
    seen = Observed(uid="u", generation=1, status=first.status, config_map=None)
    assert reconcile.refuse(INVALID_SPEC, NAME, seen, "2026-01-01T00:00:01Z").status is None


@harmful
def test_the_command_line_refuses_it(text: str, tmp_path: Path):
    (tmp_path / "config.json").write_text(text)
    files = [str(ROOT / "examples/chat.yaml"), "--nodes", str(ROOT / "examples/nodes.yaml")]
    given = ["plan", "-f", *files, "--model-config", str(tmp_path / "config.json")]
    ran = CliRunner().invoke(app, given)
    assert isinstance(ran.exception, SpecError | SystemExit), ran.exception
    assert ran.exit_code != 0


@harmful
def test_the_page_and_its_api_refuse_it(text: str):
    client = client_of(Settings())
    form = {**{k: v for k, v in CHAT.items() if k != "pool"}, "config_text": text}
    pool = {"pool_gpu": "H100-SXM", "pool_nodes": "1", "pool_per": "8", "pool_price": ""}
    sent = client.post("/", data={**form, **pool})
    page = client.get(sent.headers["location"])
    assert page.status_code == 422
    assert field_error(page.text, "config")
    plan = PLAN.model_dump_json(by_alias=True, exclude_defaults=True)
    pools = '[{"gpu": "H100-SXM", "nodes": 1, "gpusPerNode": 8}]'
    body = f'{{"plan": {plan}, "pools": {pools}, "modelConfig": {text}}}'
    answer = client.post(
        "/api/recommend", content=body, headers={"content-type": "application/json"}
    )
    assert 400 <= answer.status_code < 500
    assert len(answer.text) < 3000


def test_a_value_is_echoed_however_it_is_made():
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(int("f" * 5000, 16)) == "a value of type int"
    assert shown(deep) == "a value of type list"
    assert len(shown(NAME)) == 200
