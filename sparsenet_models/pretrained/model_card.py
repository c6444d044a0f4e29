"""The model card: README.md with metadata for the Hub, a table, and the metrics where they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from .._version import __version__
from ..common.addresses import weight_page
from ..models.pretrained_cfg import WEIGHTS, PretrainedCfg, pretrained_cfg_of
from ..models.registry import WEIGHTS_DIR

CARD = "README.md"

DATASETS = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "imagenette": "frgfm/imagenette",
    "tiny-imagenet": "zh-plus/tiny-imagenet",
}
"""The Hub's names of the data that weights of this library are trained on."""

_IMAGENET = (
    "photographs of ImageNet, whose terms (https://image-net.org/download) allow non-commercial research and "
    "education only; the licence of the weights does not extend to them"
)
IMAGE_TERMS = {"imagenette": _IMAGENET, "tiny-imagenet": _IMAGENET}
"""What a card says of the images that weights were trained on, by data, where their use is restricted."""


_VALIDATION_SPLITS = {"imagenette": "validation", "tiny-imagenet": "valid"}
"""By data without labelled test images, what the Hub calls the split that is scored in their place."""


def scored_images(data: str | None) -> str:
    """Return what the images are called on which the metrics of weights for ``data`` were measured."""
    return "validation images" if data in _VALIDATION_SPLITS else "test images"


def model_card(model: nn.Module, place: str, with_evidence: bool, sha256: str) -> str:
    """Return the card of a net by ``create_model``.

    Args:
        model: the net.
        place: where the model is, as ``create_model`` takes it: ``hf-hub:org/name``, ``local-dir:path``.
        with_evidence: whether the weights are those that the metrics of ``pretrained_cfg`` belong to; if
            not, the card has no metrics.
        sha256: of the weight file; the card outlives it where another model is saved in its place.
    """
    cfg, title = pretrained_cfg_of(model), place.partition(":")[2]
    rows = _rows(model, cfg) | (_evidence_rows(cfg) if with_evidence else {})
    rows["library"] = f"sparsenet_models {__version__}"
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items() if value not in (None, ""))
    note = (
        f"The figures were measured on these weights, the `{WEIGHTS}` with sha256 `{sha256}`, "
        "and hold for no others."
        if with_evidence
        else "No figures are given: these are not the weights that the library has figures for."
    )
    return f"""---
{_metadata(cfg, title.rpartition("/")[2], with_evidence)}
---

# {title}

| | |
| --- | --- |
{table}

{note}

```python
from sparsenet_models import create_model

model = create_model("{place}", pretrained=True).eval()
```
"""


def _metadata(cfg: PretrainedCfg, name: str, with_evidence: bool) -> str:
    """Return the YAML at the head of the card, which the Hub reads."""
    from huggingface_hub import EvalResult, ModelCardData  # here, as it takes a while to import

    fields: dict[str, Any] = dict(
        library_name="sparsenet_models",
        license=cfg.license.lower() if cfg.license else None,
        pipeline_tag="image-classification",
        tags=["image-classification", "sparsenet_models", "pytorch", cfg.architecture],
    )
    if with_evidence and cfg.data is not None:
        dataset = DATASETS.get(cfg.data, cfg.data)
        accuracy = EvalResult(
            task_type="image-classification",
            dataset_type=dataset,
            dataset_name=cfg.data,
            dataset_split=_VALIDATION_SPLITS.get(cfg.data, "test"),
            metric_type="accuracy",
            metric_value=cfg.top1,
        )
        fields |= dict(datasets=[dataset], metrics=["accuracy"], model_name=name, eval_results=[accuracy])
    return ModelCardData(**fields).to_yaml()


def _rows(model: nn.Module, cfg: PretrainedCfg) -> dict[str, Any]:
    model_args: dict[str, Any] = model.model_args  # type: ignore[assignment]
    arguments = {key: value for key, value in model_args.items() if key not in ("num_classes", "in_chans")}
    return {
        "architecture": f"`{cfg.architecture}`",
        "arguments": f"`{json.dumps(arguments)}`" if arguments else None,
        "parameters": f"{sum(parameter.numel() for parameter in model.parameters()):,}",
        "classes": getattr(model, "num_classes", None),
        "input": " x ".join(map(str, cfg.input_size)) if cfg.input_size else None,
        "paper": ", ".join(part for part in (cfg.paper_name, cfg.paper_ids) if part),
    }


def _evidence_rows(cfg: PretrainedCfg) -> dict[str, Any]:
    is_bundled = cfg.file is not None and Path(cfg.file).parent == WEIGHTS_DIR
    trained_with = f"sparsenet_models {cfg.library_version}, commit {cfg.git_commit or 'unknown'}"
    return {
        f"top-1 accuracy on the {scored_images(cfg.data)} of {cfg.data}": f"{cfg.top1:.2f}%",
        "training": cfg.epochs_text and f"{cfg.epochs_text} epochs, seed {cfg.seed}",
        "training images": IMAGE_TERMS.get(cfg.data or ""),
        "recipe": cfg.recipe and f"`{cfg.recipe}`",
        "trained with": cfg.library_version and trained_with,
        "page": f"[{cfg.name}]({weight_page(cfg.name)})" if is_bundled else None,
    }
