"""An explanation as a document for programs: base units, all constants with what moved them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guide.insight.explain import Constant, Explanation, GroupExplanation, StepView
from guide.report.adjusted import adjusted_document
from guide.report.document import API_VERSION, evaluation
from guide.report.explain import MEANINGS
from guide.report.layers import layer_kind
from guide.units import significant

KIND = "Explanation"


def to_document(explanation: Explanation) -> dict[str, Any]:
    """The explanation as JSON: base units, all constants with the levels that moved them."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "evaluation": evaluation(explanation.evaluation),
        "groups": [_group(item) for item in explanation.groups],
    }


def _group(item: GroupExplanation) -> dict[str, Any]:
    report, memory = item.evaluated.report, item.evaluated.memory
    return {
        "pool": item.evaluated.group.pool.name,
        "frameworkVersion": item.evaluated.group.version,
        "frameworkSource": item.release.source,
        "decodeStep": _step(item.decode),
        "promptStep": _step(item.prompt),
        "constants": [_constant(constant) for constant in item.constants],
        "fit": {
            "provenance": item.fit.provenance.value,
            "measuredRows": item.fit.measured_points,
            "evidence": item.fit.evidence,
            "note": item.note,
            "assumedIntervals": item.assumed_intervals,
            "intervalHalfWidths": _rounded(item.fit.residual),
        },
        "layers": [layer_kind(kind) for kind in item.layers],
        "memory": {
            "weightBytes": memory.weight_bytes,
            "activationBytes": memory.activation_bytes,
            "reservedBytes": item.reserved,
            "kvCacheBytes": memory.kv_bytes,
            "hbmBytes": memory.hbm_bytes,
            "kvBytesPerToken": memory.kv_bytes_per_token,
            "blockTokens": memory.block_tokens,
        },
        "adjustment": adjusted_document(item.adjusted),
        "queueing": {
            "requestsPerSecond": significant(item.arrivals_per_s),
            "requestsPerSecondAtSaturation": significant(item.evaluated.max_requests_per_s),
            "utilisation": significant(item.utilisation),
            "waitSeconds": {
                "mean": significant(report.queue.mean_s),
                "p95": significant(report.queue.p95_s),
            },
            "meanBatch": significant(report.batch_mean),
            "meanRequestsInReplica": significant(item.in_system),
            "kvPeakShare": significant(report.kv_peak_share),
            "preemptions": report.preemptions,
            "stable": report.stable,
        },
    }


def _step(view: StepView) -> dict[str, Any]:
    return {
        "shape": _rounded(view.shape._asdict()),
        "seconds": significant(view.seconds),
        "secondsByPart": _rounded(view.parts),
        "operators": [
            {
                "name": roof.name,
                "flop": significant(roof.flop),
                "bytes": significant(roof.bytes),
                "flopPerByte": significant(roof.intensity),
                "computeSeconds": significant(roof.compute_s),
                "memorySeconds": significant(roof.memory_s),
                "networkSeconds": significant(roof.network_s),
                "bound": roof.bound,
            }
            for roof in view.roofs
        ],
        "kernels": [
            {
                "operator": k.operator,
                "seconds": significant(k.seconds),
                "kernel": k.chosen.level.kernel,
                "dataType": k.chosen.level.dtype,
                "measuredOn": k.chosen.level.gpu,
                "source": k.chosen.level.source,
                "measuredRows": k.chosen.level.rows,
                "formErrorPercent": {
                    "median": k.chosen.level.median_error,
                    "p90": k.chosen.level.p90_error,
                },
                "because": k.chosen.relative,
            }
            for k in view.kernels
        ],
        "elasticity": _rounded(view.elasticity),
    }


def _constant(constant: Constant) -> dict[str, Any]:
    unit, meaning = MEANINGS[constant.name]
    return {
        "name": constant.name,
        "unit": unit,
        "meaning": meaning,
        "value": significant(constant.value),
        "prior": constant.prior,
        "provenance": constant.provenance,
        "movedBy": [
            {"level": level, "key": key, "latentDeviation": deviation, "measuredRows": points}
            for (level, key), deviation, points in constant.moved_by
        ],
    }


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: significant(value) for name, value in values.items()}
