"""The page's state, all of it in the URL: a link reproduces the page, and the server keeps nothing.

Uploaded files travel as tokens: the parts that matter, compressed.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from msgspec import field
from msgspec.structs import replace

from guide.errors import SpecError
from guide.record import Record
from guide.units import MIB
from guide.web.fields import DEFAULTS, ENTRIES
from guide.web.presets import PRESET_FIELDS, PRESETS

TOKEN_LIMIT = 40_000  # characters; the whole URL must stay below the 64 KiB that servers read
UNPACKED_LIMIT_BYTES = 8 * MIB
MOST_POOLS = 8
MOST_COMPARED = 3  # runs beside this one
VALUE_LIMIT = 300  # characters of one field
SOURCES = ("pools", "rent", "nodes", "cluster")


class PoolRow(Record, frozen=True, kw_only=True):
    """A pool that does not exist yet, as typed: nodes with so many GPUs each."""

    gpu: str = ""
    nodes: str = "1"
    per: str = "8"
    price: str = ""  # USD per node hour; empty: the catalogue's

    @property
    def blank(self) -> bool:
        """Whether nobody chose a GPU."""
        return not self.gpu


class State(Record, frozen=True, kw_only=True):
    """What is asked, as text, exactly as typed."""

    values: Mapping[str, str] = field(default_factory=dict[str, str])  # by name of the field
    model: str = ""
    source: str = "pools"
    pools: tuple[PoolRow, ...] = ()
    nodes: str = ""  # token of an uploaded node list
    config: str = ""  # token of a pasted config.json
    ask: bool = False  # whether an answer is wanted
    compare: tuple[str, ...] = ()  # the queries of other runs, the latest first
    people: str = ""  # how many of them write a message ...
    every: str = ""  # ... every so many seconds, where that is where the load comes from
    asof: str = ""  # the answer when the link was made: `guide.web.permalink`

    @property
    def query(self) -> str:
        """The state as a query string; equal states give equal strings."""
        pairs = [("model", self.model)] if self.model else []
        pairs += [
            (name, self.values[name])
            for name in ENTRIES
            if self.values.get(name, "") != DEFAULTS.get(name, "")
        ]
        pairs += [("source", self.source)] if self.source != "pools" else []
        if self.source == "pools":
            pairs += [
                ("pool", ":".join((p.gpu, p.nodes, p.per, p.price)).rstrip(":"))
                for p in self.pools
                if not p.blank
            ]
        pairs += [("nodes", self.nodes)] if self.nodes and self.source == "nodes" else []
        pairs += [("config", self.config)] if self.config else []
        pairs += [("ask", "1")] if self.ask else []
        pairs += [("people", self.people), ("every", self.every)] if self.people else []
        pairs += [("asof", self.asof)] if self.asof else []
        pairs += [("compare", other) for other in self.compare]
        return urlencode(pairs)

    @property
    def alone(self) -> State:
        """The same question without what it is compared with: other runs, an earlier answer."""
        return replace(self, compare=(), asof="")

    def changed(self, **values: str) -> State:
        """The same question with other values of some fields."""
        return replace(self, values={**self.values, **values}, asof="")

    def preset(self, name: str) -> State:
        """The same model and GPUs under a typical load."""
        kept = {k: v for k, v in self.values.items() if k not in PRESET_FIELDS}
        values = {**DEFAULTS, **kept, **PRESETS[name][1]}
        return replace(self, values=values, people="", every="", ask=False)


def from_query(text: str) -> State:
    """The state that a query string holds; unknown names are ignored, as links may be decorated."""
    return from_pairs(parse_qsl(text, max_num_fields=200))


def from_pairs(pairs: Iterable[tuple[str, str]]) -> State:
    """The state of names and values, from a URL or from a form."""
    many: dict[str, list[str]] = {}
    for name, value in pairs:
        many.setdefault(name, []).append(value.strip())
    one = {name: values[-1] for name, values in many.items()}
    source = one.get("source", "pools")
    return State(
        values={**DEFAULTS, **{n: one[n][:VALUE_LIMIT] for n in ENTRIES if n in one}},
        model=one.get("model", "")[:VALUE_LIMIT],
        source=source if source in SOURCES else "pools",
        pools=_pools(many),
        nodes=one.get("nodes", ""),
        config=one.get("config", ""),
        ask=one.get("ask") == "1",
        compare=tuple(text for text in many.get("compare", ()) if text)[:MOST_COMPARED],
        people=one.get("people", "")[:VALUE_LIMIT],
        every=one.get("every", "")[:VALUE_LIMIT],
        asof=one.get("asof", "")[:VALUE_LIMIT],
    )


def _pools(many: Mapping[str, Sequence[str]]) -> tuple[PoolRow, ...]:
    rows = [PoolRow(**_parts(text)) for text in many.get("pool", ())]
    columns = zip(
        many.get("pool_gpu", ()),
        many.get("pool_nodes", ()),
        many.get("pool_per", ()),
        many.get("pool_price", ()),
        strict=False,
    )
    rows += [PoolRow(gpu=g, nodes=n, per=p, price=c) for g, n, p, c in columns]
    return tuple(rows[:MOST_POOLS])


def _parts(text: str) -> dict[str, str]:
    words = [word[:64] for word in text.split(":")]
    return dict(zip(("gpu", "nodes", "per", "price"), words, strict=False))


def pack(value: Any) -> str:
    """A JSON value as a token for the URL; `SpecError` when it is too long for one."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True)
    token = base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")
    if len(token) > TOKEN_LIMIT:
        raise SpecError(
            "this is too large to be kept in a link: use `guide plan` on the command line, or "
            "`guide serve --nodes FILE`"
        )
    return token


def unpack(token: str) -> Any:
    """The value of a token; `SpecError` when it was cut or made up."""
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        inflate = zlib.decompressobj()
        data = inflate.decompress(raw, UNPACKED_LIMIT_BYTES)
        if inflate.unconsumed_tail or not inflate.eof:
            raise ValueError("cut")
        return json.loads(data)
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        raise SpecError("this part of the link is damaged: upload the file again") from None


def plain_number(text: str) -> str:
    """A number as people write it: 1,024 and 1 024 are 1024, 40,5 is 40.5.

    A comma before three digits parts thousands; any other one is a decimal comma.
    """
    number = text.strip()
    if re.fullmatch(r"[0-9]{1,3}([ ,’'\u00a0\u202f][0-9]{3})+(\.[0-9]+)?", number):
        return re.sub(r"[^0-9.]", "", number)
    if re.fullmatch(r"[0-9]+,[0-9]+", number):
        return number.replace(",", ".")
    return number
