"""Why pods of a plan do not run, in the words of those who know: kubelet, scheduler, ReplicaSet
(pure).

Containers that fail are tried again and again, so their state flickers between two attempts, and
texts count seconds. What is told of them changes only when another thing is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from guide.cluster.json_values import mapping, sequence
from guide.cluster.taints import Toleration
from guide.manifests.names import PLAN_LABEL
from guide_operator import status as statuses

Key = tuple[str, str]  # namespace, name
Owner = tuple[str, str]  # namespace, label of the plan

NOT_STARTING = "PodsNotStarting"

QUOTED = 240  # characters of a message; its middle is left out, for causes stand at either end
_HEAD = 140
_REASON = 60  # characters
# The kubelet tries on, but has failed more than once or lacks what only a person can give.
_STUCK = frozenset(
    (
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    )
)
_MAKERS = ("ReplicaSet", "Job")
_OVER = ("Succeeded", "Failed")
_INIT = "init container"
_USUAL = frozenset(("", "ContainerCreating", "PodInitializing"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What keeps a pod from running; `stuck` where waiting alone is not likely to help."""

    where: str  # such as "container server: "
    what: str
    stuck: bool

    def __str__(self) -> str:
        return f"{self.where}{self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """What counts of a pod."""

    ready: bool
    trouble: Trouble | None
    tolerations: tuple[Toleration, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The pods of one plan: whether all are ready, and what is wrong with the worst one."""

    ready: bool
    stuck: bool = False
    message: str = ""


def trouble(pod: Mapping[str, Any]) -> Trouble | None:
    """What is wrong with a pod; None for one that runs, starts as usual, or is being deleted."""
    if mapping(pod.get("metadata")).get("deletionTimestamp"):
        return None
    status = mapping(pod.get("status"))
    kinds = (("initContainerStatuses", _INIT), ("containerStatuses", "container"))
    found = [
        problem
        for key, kind in kinds
        for one in map(mapping, sequence(status.get(key)))
        if (problem := _of_container(kind, one))
    ]
    if not found and (waiting := _of_scheduling(status)):
        return waiting
    return min(found, key=lambda problem: not problem.stuck, default=None)


def _of_container(kind: str, status: Mapping[str, Any]) -> Trouble | None:
    state, where = mapping(status.get("state")), f"{kind} {_quote(status.get('name'), _REASON)}: "
    waiting = mapping(state.get("waiting"))
    reason = _quote(waiting.get("reason"), _REASON)
    end = mapping(state.get("terminated")) or mapping(
        mapping(status.get("lastState")).get("terminated")
    )
    if reason == "CrashLoopBackOff":  # its message says no more than how long the pause is
        what = f"{reason}: it ended with {_ending(end)}" if end else reason
        return Trouble(where=where, what=what, stuck=True)
    if reason not in _USUAL:
        said = _quote(waiting.get("message"))
        what = f"{reason}: {said}" if said and said != reason else reason
        return Trouble(where=where, what=what, stuck=reason in _STUCK)
    done = kind == _INIT and mapping(state.get("terminated")).get("exitCode") == 0
    if done or status.get("ready") or not end:
        return None
    return Trouble(where=where, what=f"it ended with {_ending(end)}", stuck=False)


def _ending(end: Mapping[str, Any]) -> str:
    code = end.get("exitCode")
    reason = _quote(end.get("reason"), _REASON) or "Error"
    lines = [line for line in str(end.get("message") or "").splitlines() if line.strip()]
    said = f": {_quote(lines[-1])}" if lines else ""  # of a log, the last line has the exception
    return f"{reason} (exit code {_quote(code, _REASON) or 'unknown'}){said}"


def _of_scheduling(status: Mapping[str, Any]) -> Trouble | None:
    for one in map(mapping, sequence(status.get("conditions"))):
        if one.get("type") == "PodScheduled" and one.get("status") == "False":
            reason, said = _quote(one.get("reason"), _REASON), _quote(one.get("message"))
            what = ": ".join(part for part in (reason, said) if part)
            return Trouble(where="", what=what or "not scheduled", stuck=False)
    return None


class ManagedPods:
    """The pods that Deployments and Jobs of plans have made, as they are now."""

    def __init__(self) -> None:
        self._owners: dict[Key, Owner] = {}
        self._states: dict[Owner, dict[Key, PodState]] = {}

    def set(self, key: Key, pod: Mapping[str, Any] | None) -> Owner | None:
        """Take over a pod (namespace, name), or its absence; whose it is if that can matter."""
        owner = None if pod is None else _owner(key, pod)
        if pod is None or owner is None:
            return self._remove(key)
        states = self._states.setdefault(owner, {})
        before = states.get(key)
        over = mapping(pod.get("status")).get("phase") in _OVER  # its Job says what that means
        now = PodState(
            ready=over or _ready(pod),
            trouble=None if over else trouble(pod),
            tolerations=_tolerations(pod),
        )
        if before is not None and before.trouble and not now.ready:
            now = replace(now, trouble=_still(before.trouble, now.trouble))
        if before == now:
            return None
        self._owners[key] = owner
        states[key] = now
        return owner

    def _remove(self, key: Key) -> Owner | None:
        owner = self._owners.pop(key, None)
        if owner is not None:
            del self._states[owner][key]
            if not self._states[owner]:
                del self._states[owner]
        return owner

    def tolerations(self, owner: Owner) -> tuple[Toleration, ...]:
        """What the pods of a plan tolerate for good."""
        states = self._states.get(owner, {}).values()
        return tuple(sorted({each for state in states for each in state.tolerations}))

    def report(self, owner: Owner) -> Report:
        """How the pods of a plan are."""
        states = self._states.get(owner, {})
        ready = all(state.ready for state in states.values())
        wrong = sorted(
            ((key, state.trouble) for key, state in states.items() if state.trouble),
            key=lambda item: (not item[1].stuck, item[0]),
        )
        if not wrong:
            return Report(ready=ready)
        (namespace, name), worst = wrong[0]
        others = f" ({len(wrong)} pods)" if len(wrong) > 1 else ""
        message = f"Pod {namespace}/{name}: {worst}{others}"
        return Report(ready=False, stuck=worst.stuck, message=message)


def _still(before: Trouble, now: Trouble | None) -> Trouble | None:
    """What is wrong, by the words that were found first where it is the same thing.

    Between two attempts a stuck container looks merely late.
    """
    if now is None:
        return None
    attempt = before.stuck and not now.stuck and before.where == now.where
    return before if attempt or _gist(str(before)) == _gist(str(now)) else now


def _owner(key: Key, pod: Mapping[str, Any]) -> Owner | None:
    meta = mapping(pod.get("metadata"))
    label = mapping(meta.get("labels")).get(PLAN_LABEL)
    owners = map(mapping, sequence(meta.get("ownerReferences")))
    made = any(one.get("kind") in _MAKERS and one.get("controller") for one in owners)
    return (key[0], label) if made and isinstance(label, str) else None


def _tolerations(pod: Mapping[str, Any]) -> tuple[Toleration, ...]:
    found = map(mapping, sequence(mapping(pod.get("spec")).get("tolerations")))
    return tuple(
        tuple(sorted((key, str(value)) for key, value in one.items()))
        for one in found
        if "tolerationSeconds" not in one  # those that every pod gets
    )


def _ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is ready; one that is being deleted keeps nobody waiting."""
    if mapping(pod.get("metadata")).get("deletionTimestamp"):
        return True
    conditions = map(mapping, sequence(mapping(pod.get("status")).get("conditions")))
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def failed_create(deployment: Mapping[str, Any]) -> str:
    """Why a Deployment's pods cannot be made, such as a quota or PodSecurity; empty if they can."""
    for one in map(mapping, sequence(mapping(deployment.get("status")).get("conditions"))):
        if one.get("type") == "ReplicaFailure" and one.get("status") == "True":
            meta = mapping(deployment.get("metadata"))
            reason = _quote(one.get("reason"), _REASON) or "ReplicaFailure"
            # each attempt has another name for the pod
            text = re.sub(r'^pods "[^"]*" is forbidden', "pods are forbidden", _line(one))
            return f"Deployment {meta.get('namespace')}/{meta.get('name')}: {reason}: {_cut(text)}"
    return ""


def refused(said: str, *, replacing: bool) -> str | None:
    """Why a rehearsed pod would not be taken; empty where that proves nothing; None for trouble of
    another kind, which trying again may help.
    """
    unknown = ("does not support dry run", 'cannot create resource "pods"')  # by role or webhook
    if any(one in said for one in unknown) or (replacing and "exceeded quota" in said):
        return ""
    found = re.search(r"the API server says (403|422), (.*)", said, re.DOTALL)
    if found is None or 'serviceaccount "default" not found' in said:
        return None  # that of a namespace that is being made comes a moment later
    text = re.sub(r'^pods "[^"]*" is forbidden', "pods are forbidden", _single_line(found[2]))
    return f"{_cut(text)}."


def told_anew(new: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    """What a status says of pods and the one before it did not say; empty for nothing.

    Another pod with the same fault, or another number in its message, is not worth an event.
    """
    ready, before = statuses.find(new, "Ready"), statuses.find(old, "Ready")
    if ready.get("reason") != NOT_STARTING:
        return ""
    message = str(ready["message"])
    if before.get("reason") != NOT_STARTING:
        return message
    return "" if _gist(message) == _gist(str(before.get("message"))) else message


def _gist(message: str) -> str:
    return re.sub(r"^Pod \S+ | \(\d+ pods\)$|\d+", "", message)


def _line(condition: Mapping[str, Any]) -> str:
    return _single_line(condition.get("message"))


def _quote(value: object, most: int = QUOTED) -> str:
    """`value` as one line of at most `most` characters; empty for None."""
    return _cut(_single_line(value), most)


def _single_line(value: object) -> str:
    text = "" if value is None else str(value)
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def _cut(text: str, most: int = QUOTED) -> str:
    if len(text) <= most:
        return text
    head = min(_HEAD, most // 2)
    return f"{text[:head]} … {text[len(text) - (most - head - 3) :]}"
