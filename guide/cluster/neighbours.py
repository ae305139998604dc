"""Which other pools the pods of a pool could land on, found without comparing all pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations

from guide.cluster.nodes import Taint
from guide.cluster.pools import Key


class Neighbours:
    """Pools of the same resource whose taints a pool's pods tolerate: its selector must tell them
    apart. Taints that they do not tolerate keep them off such nodes anyway.
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        self._found: dict[tuple[str, frozenset[Taint]], list[tuple[int, Key]]] = defaultdict(list)
        for place, key in enumerate(keys):
            self._found[key.resource, frozenset(key.taints)].append((place, key))

    def of(self, key: Key) -> list[Key]:
        """The pool itself and its neighbours, in the order in which they were given."""
        return [one for _, one in sorted(self._near(key))]

    def _near(self, key: Key) -> Iterator[tuple[int, Key]]:
        taints = frozenset(key.taints)
        if 2 ** len(taints) > len(self._found):  # fewer sets than subsets
            for (resource, others), found in self._found.items():
                if resource == key.resource and others <= taints:
                    yield from found
            return
        for count in range(len(taints) + 1):
            for subset in combinations(sorted(taints), count):
                yield from self._found.get((key.resource, frozenset(subset)), ())
