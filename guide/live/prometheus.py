"""The one place that talks to Prometheus: instant queries over its HTTP API."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from statistics import median
from typing import Any, cast

from guide.errors import ClusterError
from guide.live.measured import QUERIES, Observation, observation

TIMEOUT_S = 10


class PrometheusError(ClusterError):
    """Prometheus did not answer, or not as Prometheus would."""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A server by its base URL, such as http://prometheus:9090."""

    url: str

    def values(self, query: str, at: float | None = None) -> list[float]:
        """The finite values of an instant query, one a series; `at` is Unix time, or now."""
        address = f"{self.url.rstrip('/')}/api/v1/query"
        body = urllib.parse.urlencode({"query": query, **({"time": at} if at else {})}).encode()
        try:
            with urllib.request.urlopen(address, body, timeout=TIMEOUT_S) as response:
                document = cast("dict[str, Any]", json.load(response))
            result = cast("list[dict[str, Any]]", document["data"]["result"])
            values = [float(series["value"][1]) for series in result]
        except urllib.error.HTTPError as error:
            raise PrometheusError(
                f"Prometheus at {self.url} answers {error.code} {error.reason}: is the URL right?"
            ) from None
        except (OSError, ValueError, LookupError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise PrometheusError(
                f"Prometheus at {self.url} cannot be read ({reason}): is it up, is the URL right?"
            ) from None
        return [value for value in values if math.isfinite(value)]

    def observe(self, selector: str, window: str, at: float | None = None) -> Observation:
        """What the pods of `selector` did over the `window` that ends `at` a Unix time, or now.

        The median pod counts where pods are told apart, and how far others are from it.

        Raises `PrometheusError`.
        """
        found = {
            name: self.values(ask(selector, window).replace("by () ", ""), at)
            for name, ask in QUERIES.items()
        }
        middle = {name: median(values) for name, values in found.items() if values}
        pace = middle.get("tpot_mean_s")
        if pace:
            distances = [abs(value / pace - 1) for value in found["tpot_mean_s"]]
            middle["pods_apart"] = median(distances)
        return observation(middle)
