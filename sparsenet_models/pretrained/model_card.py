"""The model card: README.md with the metadata that the Hub reads, and the evidence where there is any."""

from __future__ import annotations

import json
from typing import Any

from torch import nn

from .._version import __version__
from ..models.pretrained_cfg import cfg_of

DATASETS = {"cifar10": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100"}
"""The Hub's names of the sets that weights here are trained on."""


def model_card(model: nn.Module, place: str, evidence: bool) -> str:
    """Return the card of a net by ``create_model``.

    Args:
        model: the net.
        place: where the model is, as ``create_model`` takes it: ``hf-hub:org/name``, ``local-dir:path``.
        evidence: the figures in the model's ``pretrained_cfg`` are those of its weights; without, the
            card gives none.
    """
    from huggingface_hub import EvalResult, ModelCardData

    known = cfg_of(model)
    architecture, title = known["architecture"], place.partition(":")[2]
    metadata: dict[str, Any] = dict(
        library_name="sparsenet_models",
        license=known["license"].lower() if known.get("license") else None,
        pipeline_tag="image-classification",
        tags=["image-classification", "sparsenet_models", "pytorch", architecture],
    )
    data = known.get("data")
    if evidence and data is not None:
        metadata |= dict(
            datasets=[DATASETS.get(data, data)],
            metrics=["accuracy"],
            model_name=title.rpartition("/")[2],
            eval_results=[
                EvalResult(
                    task_type="image-classification",
                    dataset_type=DATASETS.get(data, data),
                    dataset_name=data,
                    dataset_split="test",
                    metric_type="accuracy",
                    metric_value=known["top1"],
                )
            ],
        )
    given: dict[str, Any] = model.model_args  # type: ignore[assignment]
    arguments = {key: value for key, value in given.items() if key not in ("num_classes", "in_chans")}
    rows = {
        "architecture": f"`{architecture}`",
        "arguments": f"`{json.dumps(arguments)}`" if arguments else None,
        "parameters": f"{sum(parameter.numel() for parameter in model.parameters()):,}",
        "classes": getattr(model, "num_classes", None),
        "input": " x ".join(map(str, known.get("input_size") or ())),
        "paper": _paper(known),
        **(_evidence(known) if evidence else {}),
        "library": f"sparsenet_models {__version__}",
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items() if value not in (None, ""))
    told = (
        "The figures were measured on these weights, unchanged since."
        if evidence
        else "No figures are given: these are not the weights that the library has figures for."
    )
    return f"""---
{ModelCardData(**metadata).to_yaml()}
---

# {title}

| | |
| --- | --- |
{table}

{told}

```python
from sparsenet_models import create_model

model = create_model("{place}", pretrained=True).eval()
```
"""


def _paper(known: dict[str, Any]) -> str | None:
    parts = [known.get("paper_name"), known.get("paper_ids")]
    return ", ".join(part for part in parts if part) or None


def _evidence(known: dict[str, Any]) -> dict[str, Any]:
    top1, epochs, seed = known["top1"], known.get("epochs"), known.get("seed")
    before = f"{known['epochs_before']} + " if known.get("epochs_before") else ""
    return {
        f"top-1 accuracy on the test images of {known.get('data')}": f"{top1:.2f}%",
        "training": None if epochs is None else f"{before}{epochs} epochs, seed {seed}",
        "recipe": f"`{known['recipe']}`" if known.get("recipe") else None,
        "trained with": _trained_with(known),
    }


def _trained_with(known: dict[str, Any]) -> str | None:
    version, commit = known.get("library_version"), known.get("git_commit")
    return f"sparsenet_models {version}, commit {commit or 'unknown'}" if version else None
