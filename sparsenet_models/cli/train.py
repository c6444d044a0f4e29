"""`sparsenet train` and `sparsenet recipes`."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..data.sources import DOWNLOADS, data_source
from .messages import say

if TYPE_CHECKING:
    from ..training.config import TrainConfig


class TrainCommand(click.Command):
    """A command with an option for every field of ``TrainConfig``; `sparsenet --help` does not read them."""

    def get_params(self, context: click.Context) -> list[click.Parameter]:
        return [*super().get_params(context), *chain(*_option_groups().values())]

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        groups = {"Options": super().get_params(context), **_option_groups()}
        for title, options in groups.items():
            records = (
                option.get_help_record(context) for option in options if isinstance(option, click.Option)
            )
            with formatter.section(title):
                formatter.write_dl([record for record in records if record is not None])


@cache
def _option_groups() -> dict[str, list[click.Parameter]]:
    """Return the options of ``TrainConfig`` by the title of their group in the help."""
    from ..training.config import TrainConfig

    groups: dict[str, list[click.Parameter]] = {}
    for field in fields(TrainConfig):
        if "help" not in field.metadata:
            continue  # model, data and out, which have no defaults
        if field.metadata["group"] is not None:
            options = groups[field.metadata["group"]] = []
        name = field.name.replace("_", "-")
        is_flag = isinstance(field.default, bool)
        value_type = str if field.name == "resolution" else type(field.default)
        default = "" if field.default in ("", ()) else f"  [default: {field.default}]"
        # The default is None, so that an option that was not given leaves the recipe's value.
        options.append(
            click.Option(
                [f"--{name}/--no-{name}" if is_flag else f"--{name}", field.name],
                type=None if is_flag else value_type,
                default=None,
                help=field.metadata["help"] + default,
            )
        )
    return groups


@click.command(cls=TrainCommand)
@click.argument("model", metavar="MODEL")
@click.option(
    "--data", required=True, help=f"Folder of images, or a set to download: {', '.join(DOWNLOADS)}."
)
@click.option("--out", type=click.Path(file_okay=False), help="Folder of the run, default runs/MODEL-DATA.")
@click.option("--recipe", help="A set of options, which options given here replace; see `sparsenet recipes`.")
@click.option("--resume", is_flag=True, help="Continue from the last checkpoint in the folder of the run.")
def train(recipe: str | None, resume: bool, **options: Any) -> None:
    """Train MODEL, a NAME or NAME.TAG, and write weights and metrics."""
    from ..common.files import local_path

    if options["out"] is None:
        options["out"] = Path("runs", f"{options['model']}-{Path(options['data']).resolve().name}")
    options |= {key: str(local_path(options[key])) for key in ("data", "out")}
    config = configuration(recipe, {key: value for key, value in options.items() if value is not None})
    data_source(config.data)  # before torch is imported

    from ..training.loop import TrainingStopped
    from ..training.loop import train as train_model

    try:
        train_model(config, resume=resume)
    except TrainingStopped as error:
        raise click.ClickException(str(error)) from error


def configuration(recipe: str | None, given: dict[str, Any]) -> TrainConfig:
    """Return the configuration of a run: the options of ``recipe``, replaced by those that were given."""
    from ..training.config import TrainConfig, parse_resolution
    from ..training.recipes import recipe_options

    options = recipe_options(recipe) if recipe else {}
    if "resolution" in given:
        given = given | {"resolution": parse_resolution(given["resolution"])}
        options.pop("epochs", None)
    if given.get("optimizer") not in (None, options.get("optimizer", "sgd")):
        for key in ("lr", "weight_decay"):  # they are for the recipe's own optimizer
            options.pop(key, None)
    return TrainConfig.from_options(options | given)


@click.command()
def recipes() -> None:
    """List the recipes that `train --recipe` takes."""
    from ..training.recipes import recipe_summaries

    for name, summary in recipe_summaries().items():
        say(f"{name:12} {summary}")
