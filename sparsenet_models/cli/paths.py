"""Paths of the command line."""

from __future__ import annotations

import os
from typing import Any

import click

from ..common.files import local_path


class FilePath(click.Path):
    """The path of a file, with ``~`` expanded where the shell leaves it: ``--out=~/net.onnx``."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return local_path(os.fsdecode(super().convert(value, param, ctx)))
