"""The one place that talks to Prometheus: instant queries over its HTTP API."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from statistics import median
from typing import Any, cast

from guide.errors import ClusterError
from guide.live.measured import EVERY_PLAN, QUERIES, Observation, observation
from guide.live.queries import BY_PLAN
from guide.record import Record

TIMEOUT_S = 10

Key = tuple[str, str]  # namespace, label of the plan


class PrometheusError(ClusterError):
    """Prometheus did not answer, or not as Prometheus would."""


class Prometheus(Record, frozen=True):
    """A server by its base URL, such as http://prometheus:9090."""

    url: str

    def values(self, query: str, at: float | None = None) -> dict[Key, list[float]]:
        """The finite values of an instant query, one a series, by its namespace and plan.

        A series without such labels has empty ones. `at` is Unix time, or now.
        """
        address = f"{self.url.rstrip('/')}/api/v1/query"
        body = urllib.parse.urlencode({"query": query, **({"time": at} if at else {})}).encode()
        found: dict[Key, list[float]] = defaultdict(list)
        try:
            with urllib.request.urlopen(address, body, timeout=TIMEOUT_S) as response:
                document = cast("dict[str, Any]", json.load(response))
            for series in cast("list[dict[str, Any]]", document["data"]["result"]):
                labels, value = series.get("metric", {}), float(series["value"][1])
                if math.isfinite(value):
                    found[labels.get("namespace", ""), labels.get("plan", "")].append(value)
        except urllib.error.HTTPError as error:
            raise PrometheusError(
                f"Prometheus at {self.url} answers {error.code} {error.reason}: is the URL right?"
            ) from None
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise PrometheusError(
                f"Prometheus at {self.url} cannot be read ({reason}): is it up, is the URL right?"
            ) from None
        return found

    def observe(self, selector: str, window: str, at: float | None = None) -> Observation:
        """What the pods of `selector` did over the `window` that ends `at` a Unix time, or now.

        Raises `PrometheusError`.
        """
        return self._all(selector, window, (), at)["", ""]

    def observe_plans(self, window: str) -> Mapping[Key, Observation]:
        """The same of every plan, by namespace and label: one query a quantity, however many plans
        there are. A plan without series has an empty one.
        """
        return self._all(EVERY_PLAN, window, BY_PLAN, None)

    def _all(
        self, selector: str, window: str, by: tuple[str, ...], at: float | None
    ) -> Mapping[Key, Observation]:
        found: dict[Key, dict[str, list[float]]] = defaultdict(dict)
        for name, ask in QUERIES.items():
            query = ask(selector, window, by).replace("by () ", "")
            for key, values in self.values(query, at).items():
                found[key][name] = values
        seen = {key: _middle(values) for key, values in found.items()}
        return defaultdict(Observation, seen)


def _middle(found: Mapping[str, list[float]]) -> Observation:
    """The median pod counts where pods are told apart, and how far others are from it."""
    middle = {name: median(values) for name, values in found.items()}
    pace = middle.get("tpot_mean_s")
    if pace:
        distances = [abs(value / pace - 1) for value in found["tpot_mean_s"]]
        middle["pods_apart"] = median(distances)
    return observation(middle)
