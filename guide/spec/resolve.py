"""From text to a question: read a plan, and look up what it names in the catalogue."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from msgspec.structs import replace
from pydantic import ValidationError

from guide.domain import Catalog, ModelArch, Plan, Speculation, SpeculationMethod
from guide.errors import SpecError, UnknownModel, shown
from guide.models.drafts import eagle_head, prediction_model
from guide.models.families import read_config
from guide.spec.documents import CONFIG_LIMIT_BYTES, read_document
from guide.spec.messages import nearest, spec_error
from guide.spec.plan import API_VERSION, KIND, InferencePlan, InferencePlanSpec
from guide.spec.speculation import SpeculationSpec

_PART = re.compile(r"(?P<whole>.+)-(MIG-[0-9a-z.]+|SHARED-[0-9]+|(?i:[dqc]px(_nps[0-9])?))")


def load_plan(text: str) -> InferencePlan:
    """An InferencePlan from YAML or JSON text; `SpecError` with one sentence when it is not one."""
    return parse_plan(read_document(text, "the plan"))


def unquoted(text: str) -> list[str]:
    """How a cluster wants the floats of a plan that was read: one sentence each.

    All other numbers of a plan are whole, so each float of a valid plan is a quantity.
    """
    return [
        f'{path} is {value}: `kubectl apply` takes it in quotes only, as "{value}"'
        for path, value in _floats(read_document(text, "the plan"), "")
    ]


def _floats(value: object, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, Mapping):
        for key, each in cast("Mapping[str, object]", value).items():
            yield from _floats(each, f"{path}.{key}" if path else key)


def parse_plan(value: Mapping[str, Any]) -> InferencePlan:
    """An InferencePlan from a parsed object, for example as the API server returns it."""
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if value.get(key) != wanted:
            raise SpecError(
                f"{key} is {shown(value.get(key))}, but a plan has {key}: {wanted}", field=key
            )
    try:
        return InferencePlan.model_validate(value)
    except ValidationError as error:
        raise spec_error(error, InferencePlan) from None


def resolve_plan(plan: InferencePlan, catalog: Catalog, config_json: str | None = None) -> Plan:
    """The engine's question behind `plan`; `config_json` is the model's config.json, if given."""
    asked = plan.spec.to_domain(resolve_model(plan.spec, catalog, config_json))
    written = plan.spec.workload.speculation
    return (
        asked if written is None else replace(asked, speculation=drafted(written, asked, catalog))
    )


def drafted(written: SpeculationSpec, asked: Plan, catalog: Catalog) -> Speculation:
    """Speculation with the layers that draft. Raises `SpecError` where there are none."""
    model, method, field = (
        asked.model,
        SpeculationMethod(written.method),
        "spec.workload.speculation",
    )
    draft = None
    if method is SpeculationMethod.MTP:
        draft = prediction_model(model)
        if draft is None:
            raise SpecError(
                f"{field}.method: MTP needs a layer of multi-token prediction, which "
                f"{model.name} lacks: choose EAGLE, NGram or DraftModel, or give a config.json "
                "that counts one (num_nextn_predict_layers)",
                field=f"{field}.method",
            )
    elif method is SpeculationMethod.EAGLE:
        draft = eagle_head(model)
    elif method is SpeculationMethod.DRAFT_MODEL:
        draft = known_model(written.draft_model or "", catalog, f"{field}.draftModel")
        if draft.vocab != model.vocab:
            raise SpecError(
                f"{field}.draftModel: {draft.name} has a vocabulary of {draft.vocab:,} tokens "
                f"and {model.name} of {model.vocab:,}: name a model of the same family",
                field=f"{field}.draftModel",
            )
    return Speculation(
        method=method,
        tokens=written.tokens,
        acceptance=written.by_position,
        draft=draft,
        draft_name=written.draft_model,
    )


def resolve_model(
    spec: InferencePlanSpec, catalog: Catalog, config_json: str | None = None
) -> ModelArch:
    """The model that `spec` names, from its config.json where given, else from the catalogue.

    Also refuses a GPU in ``spec.placement.gpus`` that the catalogue lacks. Raises `SpecError`.
    """
    _check_gpus(spec.placement.gpus, catalog)
    name = spec.model.name
    if config_json is not None:
        return model_of_config(name, config_json)
    if spec.model.config_from is not None:
        reference = spec.model.config_from.config_map_key_ref
        raise SpecError(
            f"spec.model.configFrom names key {reference.key} of ConfigMap {reference.name}, "
            f"which was not read: "
            "on the command line give the file by --model-config",
            field="spec.model.configFrom",
        )
    return known_model(name, catalog, "spec.model.name")


def model_of_config(name: str, config_json: str) -> ModelArch:
    """The model of a config.json; `SpecError` with one sentence where it cannot be read."""
    return read_config(name, _parse_config(config_json))


def known_model(name: str, catalog: Catalog, field: str) -> ModelArch:
    """The catalogue's model of this name; `SpecError` that names what is close. `field` is where
    the name was written."""
    for known, model in catalog.models.items():
        if known.casefold() == name.casefold():
            return model
    close = nearest(name, catalog.models, 3) or nearest(name.rsplit("/", 1)[-1], catalog.models, 3)
    mend = f"did you mean {' or '.join(close)}, or " if close else "`guide models` lists what is; "
    raise UnknownModel(
        f"{field}: {name} is not in the catalogue: {mend}give its config.json "
        "(--model-config FILE, or spec.model.configFrom)",
        field,
        name=name,
        close=close,
    )


def _check_gpus(names: tuple[str, ...], catalog: Catalog) -> None:
    for index, name in enumerate(names):
        if name in catalog.gpus or part_name(name, catalog) is not None:
            continue
        spellings = {
            alias: gpu.name for gpu in catalog.gpus.values() for alias in (gpu.name, *gpu.aliases)
        }
        close = nearest(name, spellings)
        mend = f"did you mean {spellings[close[0]]}?" if close else "`guide gpus` lists what is"
        raise SpecError(
            f"spec.placement.gpus[{index}]: {name} is not in the catalogue: {mend}",
            field=f"spec.placement.gpus[{index}]",
        )


def part_name(name: str, catalog: Catalog) -> str | None:
    """The GPU that a name such as H100-SXM-MIG-1g.10gb is a part of, if it is such a name."""
    match = _PART.fullmatch(name)
    return match["whole"] if match and match["whole"] in catalog.gpus else None


def _parse_config(text: str) -> dict[str, Any]:
    if len(text) > CONFIG_LIMIT_BYTES:
        raise SpecError("the model's config.json is larger than 16 MiB: is it the right file?")
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"the model's config.json is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise SpecError(
            "the model's config.json must be one JSON object, as published with the model"
        )
    return cast("dict[str, Any]", value)
