"""`sparsenet info`: what is known of a model, as a table with units."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..common.messages import duration, printable
from .messages import say

if TYPE_CHECKING:
    from torch import nn

    from ..models.pretrained_cfg import PretrainedCfg

LABEL_CHARS = 18
LINE_CHARS = 100


@click.command()
@click.argument("model", metavar="MODEL")
def info(model: str) -> None:
    """Print what is known of MODEL: size, classes, accuracy, training.

    MODEL is a name, NAME.TAG, the folder of a run or of a saved model, or a weight file written by `train`.
    """
    from ..factory import create_model
    from ..models.registry import is_model, tags_with_weights
    from ..pretrained.source import find_model, path_as_name

    name = path_as_name(model)
    cfg = find_model(name).cfg
    net = create_model(name, device="meta")
    tags = tags_with_weights(name) if is_model(name) else [model]
    rows = {**_net(cfg, net), **_images(cfg), **_weights(cfg, tags), **_training(cfg)}
    say(f"{'name':{LABEL_CHARS}}{cfg.name}")
    for title, values in rows.items():
        lines = [line for label, value in values.items() for line in _lines(label, value)]
        if lines:
            say("", title, *lines)


def _net(cfg: PretrainedCfg, net: nn.Module) -> dict[str, dict[str, Any]]:
    macs = cfg.macs or (_macs(net, cfg.input_size) if cfg.input_size else None)
    return {
        "Net": {
            "input": _pixels(cfg.input_size),
            "parameters": f"{sum(parameter.numel() for parameter in net.parameters()):,}",
            "multiply-adds": macs and f"{macs / 1e6:,.1f}M for one image of that size",
            "smallest input": _pixels(cfg.min_input_size),
            "other sizes": "are refused" if cfg.fixed_input_size else None,
            "last map": cfg.pool_size and f"{cfg.pool_size[0]} x {cfg.pool_size[1]}",
            "first layer": cfg.first_conv,
            "classifier": cfg.classifier,
        }
    }


def _macs(net: nn.Module, size: tuple[int, int, int]) -> int | None:
    from ..analysis.flops import count_multiply_adds

    try:
        return count_multiply_adds(net.eval(), size)
    except RuntimeError:  # a net of one's own that reads the numbers of its images
        return None


def _images(cfg: PretrainedCfg) -> dict[str, dict[str, Any]]:
    classes = {"count": cfg.num_classes, "names": cfg.label_names}
    if not cfg.has_data_config:
        return {"Classes": classes}
    crop = f"{cfg.crop_mode} crop of {100 * cfg.crop_pct:g}% of the side"
    images = {"resizing": f"{cfg.interpolation}, {crop}", "mean": cfg.mean, "deviation": cfg.std}
    return {"Images": images, "Classes": classes}


def _weights(cfg: PretrainedCfg, tags: list[str]) -> dict[str, dict[str, Any]]:
    size = cfg.file_size
    if size is None and cfg.file is not None and Path(cfg.file).is_file():
        size = Path(cfg.file).stat().st_size
    from ..pretrained.model_card import scored_images

    return {
        "Weights": {
            "available": tags or "no weights under any tag",
            "file": cfg.file,
            "size": size and f"{size / 1e6:.2f} MB",
            "sha256": cfg.sha256,
            "Hub repository": cfg.hf_hub_id,
            "Hub file": cfg.hf_hub_filename,
            "revision": cfg.revision,
            "license": cfg.license,
        },
        f"Accuracy on the {scored_images(cfg.data)}": {
            "top-1": cfg.top1 is not None and f"{cfg.top1:.2f}% (error {100 - cfg.top1:.2f}%)",
            "top-5": cfg.top5 is not None and f"{cfg.top5:.2f}%",
            "loss": cfg.loss is not None and f"{cfg.loss:.4f} nats",
        },
    }


def _training(cfg: PretrainedCfg) -> dict[str, dict[str, Any]]:
    return {
        "Training": {
            "data": cfg.data,
            "epochs": cfg.epochs_text,
            "time": cfg.train_seconds and duration(cfg.train_seconds),
            "machine": cfg.machine,
            "seed": None if cfg.seed is None else str(cfg.seed),
            "options": cfg.recipe and _options(cfg.recipe),
            "version": cfg.library_version,
            "git commit": cfg.git_commit,
        },
        "Paper": {"title": cfg.paper_name, "identifier": cfg.paper_ids},
    }


def _pixels(size: tuple[int, int, int] | None) -> str | None:
    return size and f"{size[0]} x {size[1]} x {size[2]} pixels"  # channels, height, width


def _options(recipe: str) -> str | list[str]:
    """Return the options of a run, as "epochs=2"; of weights from elsewhere the recipe may be any text."""
    try:
        options = json.loads(recipe)
    except (ValueError, RecursionError):
        return recipe
    return [f"{key}={value}" for key, value in options.items()] if isinstance(options, dict) else recipe


def _lines(label: str, value: Any) -> Iterator[str]:
    """Yield the lines of a row: a list over as many as it needs, any other value whole in one."""
    if value is None or value is False:
        return
    parts = [str(value)]
    if isinstance(value, Iterable) and not isinstance(value, str):
        text = ", ".join(printable(str(item)) for item in value)
        width = LINE_CHARS - LABEL_CHARS
        parts = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    for part, name in zip(parts, [label, *[""] * len(parts)]):
        yield f"  {name:{LABEL_CHARS - 2}}{part}"
