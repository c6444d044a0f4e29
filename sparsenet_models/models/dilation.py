"""Keep the last feature maps large: dilated convolutions in place of strides, with the same weights."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from ..common.arguments import integer
from ..layers.pools import DilatedAvgPool2d, dilated_max_pool
from .classifier_net import ClassifierNet


def dilate(net: ClassifierNet, output_stride: int) -> None:
    """Remove the strides of ``net`` after the feature map whose reduction is ``output_stride``.

    What comes after that map is dilated instead: of images whose sides the last reduction divides, a dilated
    map has every value of the original one, and as many between two of them as the stride left out.

    Args:
        net: a net of any family, changed in place, its ``feature_info`` too.
        output_stride: the largest ``reduction`` that remains.

    Raises:
        TypeError: ``output_stride`` is not an integer.
        ValueError: it is not the ``reduction`` of a stage's map.
    """
    output_stride = integer("output_stride", output_stride, minimum=1)
    infos = net.feature_info
    strides = [info["reduction"] for info in infos[net.has_stem_map :]]
    if output_stride not in strides:
        raise ValueError(
            f"output_stride must be the stride of one of the net's stages, {strides}, got {output_stride}"
        )
    ends = [net.parts().index(info["module"]) + 1 for info in infos]
    dilations = [max(1, info["reduction"] // output_stride) for info in infos]
    # What comes after the last map, a pool in a FractalNet, makes no map smaller than that.
    between = zip(pairwise([0, *ends, len(net.parts()) - 1]), pairwise([1, *dilations, dilations[-1]]))
    for (start, end), (before, after) in between:
        for part in net.parts()[start:end]:
            if after > 1:
                _dilate(net, part, before, after)
    for info in infos:
        info["reduction"] = min(info["reduction"], output_stride)


def _dilate(net: nn.Module, part: str, before: int, after: int) -> None:
    """Dilate the modules of a part: those with a stride by ``before``, the others by ``after``."""
    for name, module in list(net.get_submodule(part).named_modules(prefix=part)):
        if isinstance(module, nn.Conv2d):
            dilation = after if module.stride == (1, 1) else before
            module.stride, module.dilation = (1, 1), (dilation, dilation)
            module.padding = tuple(dilation * (side // 2) for side in module.kernel_size)
        elif isinstance(module, (nn.AvgPool2d, nn.MaxPool2d)):
            parent, _, child = name.rpartition(".")
            pool = DilatedAvgPool2d(before) if isinstance(module, nn.AvgPool2d) else dilated_max_pool(before)
            setattr(net.get_submodule(parent), child, pool)
