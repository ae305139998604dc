"""What people know of their load, as fields of the form: so many people with a message every so
often, and a prompt and an answer by example.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from msgspec.structs import replace

from guide.errors import SpecError
from guide.web.state import State, plain_number

BYTES_PER_TOKEN = 4  # of UTF-8: English to a tenth or two, other scripts roughly
EXAMPLES = {"prompt_text": "input", "answer_text": "output"}  # pasted text -> field of its mean
LOADS = ("rps", "users", "batch", "within")


def taken_in(state: State, pressed: Mapping[str, str]) -> State:
    """The state with the load of the people and the lengths of the examples that were typed.

    A load that was typed after the people were counted takes their place. Raises `SpecError`.
    """
    for name, mean in EXAMPLES.items():
        text = pressed.get(name, "").strip()
        if text:
            state = state.changed(**{mean: str(tokens(text)), f"{mean}95": ""})
    if not state.people and not state.every:
        return state
    rate = requests_per_s(state)
    if f"{state.people}:{state.every}" != pressed.get("counted", ""):
        return state.changed(**{**dict.fromkeys(LOADS, ""), "rps": rate})
    return state if state.values.get("rps") == rate else replace(state, people="", every="")


def tokens(text: str) -> int:
    """Roughly how many tokens a text has, without a tokenizer."""
    return math.ceil(len(text.encode()) / BYTES_PER_TOKEN)


def requests_per_s(state: State) -> str:
    """Requests per second of all people together, to three digits; raises `SpecError`."""
    rate = _number(state.people, "people") / _number(state.every, "every")
    digits = max(0, 2 - rate.adjusted())
    shown = f"{rate:.{digits}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def _number(text: str, name: str) -> Decimal:
    try:
        number = Decimal(plain_number(text))
    except InvalidOperation:
        number = Decimal(0)
    if not number.is_finite() or not Decimal("0.001") <= number <= 1_000_000_000:
        raise SpecError("write a number above 0, such as 50", name)
    return number


def reasoning(state: State) -> str:
    """Where the requests per second come from; empty where they were typed."""
    if not state.people:
        return ""
    try:
        rate = requests_per_s(state)
    except SpecError:
        return ""
    if state.values.get("rps") != rate:
        return ""
    return (
        f"{state.people} people, each with a message every {state.every} s: {state.people} / "
        f"{state.every} s = {rate} requests per second."
    )
