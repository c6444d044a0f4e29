"""The `sparsenet` command: one file for each verb. `sparsenet --help` imports no torch."""

from __future__ import annotations

import click

from .._version import __version__
from .analyze import analyze
from .benchmark import benchmark
from .convert import convert
from .export import export
from .info import info
from .list import list_
from .messages import OneLineErrors
from .plot import plot
from .predict import predict
from .train import recipes, train
from .validate import validate
from .verify import verify


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="sparsenet-models", prog_name="sparsenet")
def main() -> None:
    """Sparsely aggregated convolutional networks: predict, train, validate."""


for verb in (
    *(predict, list_, info, verify, convert, validate, train, recipes),
    *(export, benchmark, analyze, plot),
):
    main.add_command(verb)
