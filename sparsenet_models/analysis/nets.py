"""What a whole net costs: its modules counted, its run on the meta device followed; no arithmetic is done."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ..aggregation import StageGraph
from ..common.arguments import integer
from ..factory import create_model
from ..layers.stage import Stage
from ..models.fractalnet import Column, FractalBlock
from ..pretrained.load import unwrap_model
from .rules import (
    Analysis,
    Costs,
    GraphFigures,
    combined,
    fractal_figures,
    graph_figures,
    live_in_fractal,
    live_in_stage,
)

Block = Stage | FractalBlock | Column

BATCH = 2
"""Batch norm wants more than one image; what scales with the batch is divided by it."""


class Call(NamedTuple):
    """One run of a module: sizes are numbers for one image."""

    module: nn.Module
    entering: int
    leaving: int
    macs: int


def analyze_model(model: str | nn.Module, input_size: tuple[int, int, int] | None = None) -> Analysis:
    """Analyse a net of any family, by name or built.

    >>> analyze_model("sparsenet_bc_100_k24").costs.macs

    Args:
        model: a model's name, or a net; a net is copied to the meta device, not run.
        input_size: channels, height and width of the image; default the net's own.

    Raises:
        TypeError: ``model`` is neither a name nor a net, or ``input_size`` is no three integers.
        ValueError: an unknown name, a net without stages or fractal blocks, or a size that it does not take.
    """
    if isinstance(model, str):
        name, net = model, create_model(model, device="meta")
    elif isinstance(model, nn.Module):
        net = copy.deepcopy(unwrap_model(model)).to("meta")
        name = type(net).__name__
    else:
        raise TypeError(f"model must be a name or a net, got {model!r}")
    blocks = [module for module in net.modules() if isinstance(module, (Stage, FractalBlock, Column))]
    if not blocks:
        raise ValueError(f"{name} has neither stages nor fractal blocks to analyse")
    # Neither dropout nor drop-path may leave anything out; what is kept is the same in both modes.
    net.eval()
    calls, kept = _traced(net, _input_size(name, net, input_size))
    weighted = [call for call in calls.values() if isinstance(call.module, (nn.Conv2d, nn.Linear))]
    convolutions = [call for call in weighted if isinstance(call.module, nn.Conv2d)]
    within = {part for block in blocks for part in block.modules()}
    outside = [c.entering + c.leaving for c in weighted if c.module not in within]
    costs = Costs(
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        macs=sum(call.macs for call in weighted),
        traffic=sum(call.entering + call.leaving for call in convolutions),
        kept=kept,
        live=max([*outside, *(_live(block, calls) for block in blocks)]),
    )
    return Analysis(
        name, _depth(net, blocks, weighted), combined([_figures(block) for block in blocks]), costs
    )


def _input_size(name: str, net: nn.Module, asked: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """Return the channels, height and width to analyse a net at."""
    known: dict[str, Any] = getattr(net, "pretrained_cfg", None) or {}
    channels = getattr(getattr(net, "net", net), "in_chans", 3)  # a feature net holds the net that has them
    if asked is None:
        return known.get("input_size") or (channels, 32, 32)
    if not isinstance(asked, Sequence) or len(asked) != 3:
        raise TypeError(f"input_size must be channels, height and width, got {asked!r}")
    found, height, width = (integer("each of input_size", number, minimum=1) for number in asked)
    if found != channels:
        raise ValueError(f"input_size must have the {channels} channels that {name} takes, got {asked!r}")
    return found, height, width


def _traced(net: nn.Module, size: tuple[int, int, int]) -> tuple[dict[nn.Module, Call], int]:
    """Run ``net`` on meta images; return every module's call and the numbers kept for the backward pass."""
    calls: dict[nn.Module, Call] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | Sequence[Tensor]) -> None:
        made = [output] if isinstance(output, Tensor) else output
        leaving = sum(tensor.numel() for tensor in made) // BATCH
        macs = 0
        if isinstance(module, nn.Conv2d):
            macs = leaving * module.in_channels // module.groups * math.prod(module.kernel_size)
        elif isinstance(module, nn.Linear):
            macs = leaving * module.in_features
        calls[module] = Call(module, inputs[0].numel() // BATCH, leaving, macs)

    weights = {tensor.untyped_storage()._cdata for tensor in (*net.parameters(), *net.buffers())}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in weights and tensor.ndim > 1:
            kept[storage] = tensor
        return tensor

    handles = [module.register_forward_hook(note) for module in net.modules()]
    with torch.enable_grad(), saved_tensors_hooks(pack, lambda tensor: tensor):
        net(torch.empty(BATCH, *size, device="meta"))
    for handle in handles:
        handle.remove()
    return calls, sum(tensor.numel() for tensor in kept.values()) // BATCH


def _graph(stage: Stage) -> StageGraph:
    return StageGraph(len(stage.layers), lambda layer: stage.sources[layer - 1])


def _figures(block: Block) -> GraphFigures:
    if isinstance(block, FractalBlock):
        return fractal_figures(len(block.columns))
    if isinstance(block, Column):
        return graph_figures(StageGraph(len(block), lambda layer: (layer - 1,)))
    return graph_figures(_graph(block), running_sum=block.runs_sum)


def _live(block: Block, calls: dict[nn.Module, Call]) -> int:
    """Return the most numbers that a stage or block holds at once in inference."""
    if isinstance(block, FractalBlock):
        return live_in_fractal(len(block.columns), calls[block].entering, calls[block].leaving)
    if isinstance(block, Column):
        return max(calls[layer].entering + calls[layer].leaving for layer in block)
    layers = [calls[layer] for layer in block.layers]
    first = calls[block].entering
    outputs = [first, *(call.leaving for call in layers)]
    if block.makes_output_0:
        outputs[:2] = [layers[0].leaving // 2] * 2
    return live_in_stage(
        _graph(block),
        outputs,
        merged=[*(call.entering for call in layers), calls[block].leaving],
        convolutions=[
            [(calls[m].entering, calls[m].leaving) for m in layer.modules() if isinstance(m, nn.Conv2d)]
            for layer in block.layers
        ],
        running_sum=block.runs_sum,
    )


def _depth(net: nn.Module, blocks: list[Block], weighted: list[Call]) -> int:
    """Return the convolutions and linear layers on the longest way through the net, without projections."""
    projections = {getattr(module, "projection", None) for module in net.modules()}
    depth = sum(call.module not in projections for call in weighted)
    for block in blocks:
        if isinstance(block, FractalBlock):
            depth -= 2 ** (len(block.columns) - 1) - 1  # the convolutions of all columns but the deepest
    return depth
