"""A link that keeps its answer: it carries what was recommended and by which catalogue, so that the
page can tell whether today's answer is another one.
"""

from __future__ import annotations

import re

from guide.domain import Evaluation, Recommendation
from guide.units import format_usd

_STAMP = re.compile(
    r"([0-9a-f]{12})~(none|\d{1,6}x[\w.-]{1,60}(?: \d{1,6}x[\w.-]{1,60}){0,7})~(\d{1,12}\.\d\d|)",
    re.ASCII,
)


def stamp(found: Recommendation) -> str:
    """Catalogue, GPUs and bill of an answer."""
    best = found.best
    usd = None if best is None else _bill(best)
    money = "" if usd is None else f"{usd:.2f}"
    return "~".join((_short(found.catalog_digest), _gpus(best), money))


def since(before: str, found: Recommendation) -> tuple[bool, str] | None:
    """Whether the answer of a link is still the same, in a sentence; None for a link without one.

    Nothing of the link is shown that is not a digest, a count, a GPU or a price.
    """
    then, now = _STAMP.fullmatch(before), stamp(found).split("~", 1)
    if then is None:
        return None
    digest, gpus, usd = then.groups()
    same_catalogue, same_answer = digest == now[0], f"{gpus}~{usd}" == now[1]
    change = "" if same_catalogue else f"; the catalogue is {now[0]} today"
    if same_answer:
        return True, f"The same answer as when this link was made (catalogue {digest}{change})."
    money = f" for {format_usd(float(usd))}" if usd else ""
    each = [word.replace("x", " x ", 1) for word in gpus.split(" ")]
    was = "no deployment" if gpus == "none" else " and ".join(each) + money
    return False, (
        f"The answer differs today: when this link was made, it was {was} (catalogue {digest}"
        f"{change})."
    )


def _bill(best: Evaluation) -> float | None:
    return best.usd_per_h if best.job is None else best.job.usd


def _gpus(best: Evaluation | None) -> str:
    if best is None:
        return "none"
    return " ".join(f"{g.group.gpus}x{g.group.gpu.name.replace(' ', '-')}" for g in best.groups)


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
