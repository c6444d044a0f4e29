"""What a whole net costs, from one run on the meta device: shapes are computed, values are not."""

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
from ..common.messages import first_line, is_out_of_memory
from ..common.wrappers import unwrap_model
from ..factory import create_model
from ..layers.checkpointing import set_checkpointing
from ..layers.stage import Stage
from ..models.fractalnet import Column, FractalBlock
from ..models.resnet import ProjectedStage
from ..optimization.inference import unfold
from .costs import Costs, live_in_stage
from .fractal import fractal_figures, live_in_fractal
from .graphs import GraphFigures, combined, graph_figures
from .rules import Analysis

Block = Stage | FractalBlock | Column

BATCH = 2
"""Batch norm in train mode needs more than one image. Counts are divided by it, to be for one image."""


class Call(NamedTuple):
    """One run of a module: sizes of input and output, and multiply-adds, all for one image."""

    module: nn.Module
    entering: int
    leaving: int
    macs: int


def analyze_model(model: str | nn.Module, input_size: tuple[int, int, int] | None = None) -> Analysis:
    """Analyse a net of any family, by name or built.

    Examples:
        >>> analyze_model("sparsenet_bc_100_k24").costs.macs

    Args:
        model: a model's name, or a net, of which a copy is analysed.
        input_size: channels, height and width of the image; default: ``input_size`` of the net's
            ``pretrained_cfg``, or 32x32 pixels.

    Raises:
        TypeError: ``model`` is neither a name nor a net, or ``input_size`` is not three integers.
        ValueError: the name is unknown, the net has neither stages nor fractal blocks, or it does not take
            images of that size.
    """
    if isinstance(model, str):
        name, net = model, create_model(model, device="meta")
    elif isinstance(model, nn.Module):
        net = copy.deepcopy(unwrap_model(model)).to("meta", torch.float32)
        unfold(net)
        name = type(net).__name__
    else:
        raise TypeError(f"model must be a name or a net, got {model!r}")
    blocks = [module for module in net.modules() if isinstance(module, (Stage, FractalBlock, Column))]
    if not blocks:
        raise ValueError(f"{name} has neither stages nor fractal blocks to analyse")
    set_checkpointing(net, False)
    # In train mode drop-path could skip layers. Autograd keeps the same tensors in both modes.
    net.eval()
    size = _input_size(name, net, input_size)
    try:
        calls, kept = _trace(net, size)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise ValueError(f"{name} does not take images of input_size {size}: {first_line(error)}") from error
    weighted = [call for call in calls.values() if isinstance(call.module, (nn.Conv2d, nn.Linear))]
    convolutions = [call for call in weighted if isinstance(call.module, nn.Conv2d)]
    in_blocks = {module for block in blocks for module in block.modules()}
    outside = [call.entering + call.leaving for call in weighted if call.module not in in_blocks]
    costs = Costs(
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        macs=sum(call.macs for call in weighted),
        traffic=sum(call.entering + call.leaving for call in convolutions),
        kept=kept,
        live=max([*outside, *(_live(block, calls) for block in blocks)]),
    )
    figures = combined([_figures(block) for block in blocks])
    return Analysis(name, _depth(net, blocks, weighted), figures, costs)


def _input_size(name: str, net: nn.Module, input_size: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """Return the channels, height and width to analyse a net at."""
    cfg: dict[str, Any] = getattr(net, "pretrained_cfg", None) or {}
    in_chans = getattr(getattr(net, "net", net), "in_chans", 3)  # a FeatureNet holds the net that has them
    if input_size is None:
        return cfg.get("input_size") or (in_chans, 32, 32)
    if not isinstance(input_size, Sequence) or len(input_size) != 3:
        raise TypeError(f"input_size must be channels, height and width, got {input_size!r}")
    channels, height, width = (integer("each of input_size", size, minimum=1) for size in input_size)
    if channels != in_chans:
        raise ValueError(
            f"input_size must have the {in_chans} channels that {name} takes, got {input_size!r}"
        )
    return channels, height, width


def _trace(net: nn.Module, size: tuple[int, int, int]) -> tuple[dict[nn.Module, Call], int]:
    """Run ``net`` on meta images; return each module's call, and how much the backward pass keeps."""
    calls: dict[nn.Module, Call] = {}

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | Sequence[Tensor]) -> None:
        outputs = [output] if isinstance(output, Tensor) else output
        leaving = sum(tensor.numel() for tensor in outputs) // BATCH
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

    handles = [module.register_forward_hook(record) for module in net.modules()]
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
    return graph_figures(_graph(block), running_sum=block.running_sum)


def _live(block: Block, calls: dict[nn.Module, Call]) -> int:
    """Return the most that a stage or block holds at once in inference, for one image."""
    if isinstance(block, FractalBlock):
        return live_in_fractal(len(block.columns), calls[block].entering, calls[block].leaving)
    if isinstance(block, Column):
        return max(calls[layer].entering + calls[layer].leaving for layer in block)
    layers = [calls[layer] for layer in block.layers]
    first = calls[block].entering
    outputs = [first, *(call.leaving for call in layers)]
    if isinstance(block, ProjectedStage):
        outputs[:2] = [layers[0].leaving // 2] * 2
    return live_in_stage(
        _graph(block),
        outputs,
        merged=[*(call.entering for call in layers), calls[block].leaving],
        convolutions=[
            [(calls[m].entering, calls[m].leaving) for m in layer.modules() if isinstance(m, nn.Conv2d)]
            for layer in block.layers
        ],
        merge="running sum" if block.running_sum else block.merge,
    )


def _depth(net: nn.Module, blocks: list[Block], weighted: list[Call]) -> int:
    """Return how many convolutions and linear layers the longest way has, without projections."""
    projections = {getattr(module, "projection", None) for module in net.modules()}
    depth = sum(call.module not in projections for call in weighted)
    for block in blocks:
        if isinstance(block, FractalBlock):
            depth -= 2 ** (len(block.columns) - 1) - 1  # only the deepest column counts
    return depth
