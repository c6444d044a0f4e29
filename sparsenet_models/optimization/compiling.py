"""Whether torch.compile works here, and how often it may compile anew."""

from __future__ import annotations

import os
import shutil

import torch

RECOMPILATIONS_OF_A_SHAPE = 8
"""torch's own limit, for what is compiled anew beside the shapes of the batches."""


def why_not_compile(device: torch.device) -> str:
    """Return why torch.compile cannot be used on ``device``, or "" if it can."""
    compilers = (os.environ.get("CXX", "c++"), "c++", "g++", "clang++", "cl")
    if not any(shutil.which(compiler) for compiler in compilers):
        return "no C++ compiler found"
    try:
        torch.compile(torch.sin)(torch.zeros(8, device=device))
    # Without Python headers or triton, or with a new Python, each version of torch raises another error.
    except Exception as error:
        return f"torch.compile does not work here ({type(error).__name__})"
    return ""


def allow_shapes(shapes: int) -> None:
    """Let torch.compile compile a net anew for so many ``shapes`` of batches."""
    # Past its limit torch runs without compiling, and without a word. Before 2.6 it had another name.
    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
    least = RECOMPILATIONS_OF_A_SHAPE + shapes
    setattr(torch._dynamo.config, limit, max(least, getattr(torch._dynamo.config, limit)))
