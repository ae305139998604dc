"""Files of an answer: the same bytes as the command line writes."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

from guide.domain import Recommendation
from guide.gitops.folder import folder_files, plan_text
from guide.manifests.render import KUSTOMIZATION, render_files
from guide.report.document import to_json
from guide.report.review import review_markdown
from guide.spec import write_document
from guide.web.asking import PageQuestion

_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP can say: same answer, same bytes


def plan_yaml(asked: PageQuestion, found: Recommendation) -> bytes:
    """The InferencePlan."""
    del found
    return plan_text(asked.written).encode()


def nodes_yaml(asked: PageQuestion, found: Recommendation) -> bytes:
    """The nodes, for `guide plan --nodes`."""
    del found
    nodes: list[Mapping[str, Any]] = list(asked.nodes)
    return write_document({"apiVersion": "v1", "kind": "List", "items": nodes}).encode()


def config_json(asked: PageQuestion, found: Recommendation) -> bytes:
    """The model's config.json as it was given, for `--model-config`."""
    del found
    return (asked.config or "").encode()


def recommendation_json(asked: PageQuestion, found: Recommendation) -> bytes:
    """What `guide plan -o json` prints."""
    del asked
    return (json.dumps(to_json(found), indent=2, ensure_ascii=False) + "\n").encode()


def review(asked: PageQuestion, found: Recommendation) -> bytes:
    """REVIEW.md."""
    return review_markdown(asked.written, found).encode()


def manifests_yaml(asked: PageQuestion, found: Recommendation) -> bytes:
    """All objects as one text for `kubectl apply -f`."""
    files = render_files(asked.written, found)
    texts = [text for name, text in files.items() if name not in (KUSTOMIZATION, "REVIEW.md")]
    return "---\n".join(texts).encode()


def manifests_zip(asked: PageQuestion, found: Recommendation) -> bytes:
    """The folder that `guide render` writes."""
    files = folder_files(
        asked.written, found, asked.catalog, asked.inventory, model_config=asked.config
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(
                zipfile.ZipInfo(f"{asked.written.metadata.name}/{name}", _FIRST_DAY), text
            )
    return packed.getvalue()


Maker = Callable[[PageQuestion, Recommendation], bytes]
FILES: dict[str, tuple[str, Maker]] = {
    "plan.yaml": ("application/yaml", plan_yaml),
    "manifests.zip": ("application/zip", manifests_zip),
    "manifests.yaml": ("application/yaml", manifests_yaml),
    "REVIEW.md": ("text/markdown", review),
    "recommendation.json": ("application/json", recommendation_json),
    "nodes.yaml": ("application/yaml", nodes_yaml),
    "config.json": ("application/json", config_json),
}
