"""`sparsenet validate`: a net on the test images of a data set."""

from __future__ import annotations

import json
from typing import Any

import click

from ..data.sources import DOWNLOADS, data_source
from .images import images_for
from .messages import note, say
from .nets import checkpoint_option, device_option, load_model, precision_option
from .progress import progress

TEST_SET_SIZES = {"cifar10": 10_000, "cifar100": 10_000, "imagenette": 3_925, "tiny-imagenet": 10_000}
"""Images of which a card gives the top-1, by data set."""

CARD_TOLERANCE = 0.05
"""Points of top-1 that other kernels and machines may change."""


@click.command()
@click.argument("model", metavar="[NAME.TAG|PATH]", required=False)
@click.option(
    "--data",
    help=f"Folder of images, or a set to download: {', '.join(DOWNLOADS)}; default: the net's own set.",
)
@checkpoint_option
@click.option("--tta", is_flag=True, help="Also average the logits with those of the mirror image.")
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True)
@device_option
@precision_option()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def validate(
    model: str | None, data: str | None, tta: bool, batch_size: int, as_json: bool, **options: Any
) -> None:
    """Measure a net on the test images of a data set.

    Prints top-1, top-5, loss and images/s, and the top-1 of the net's card where that is of the same set.
    After all its test images in float32, a line says whether the two agree. PATH is a run, a saved model, or
    a weight file written by `train`. A folder of class folders is measured whole.
    """
    if model is None and options["checkpoint"] is None:
        raise click.UsageError("name a model, or give a weight file with --checkpoint")
    if data is not None:
        data_source(data)  # before torch is imported

    from ..data.datasets import fits_in_memory, split_for
    from ..data.evaluate import evaluate
    from ..data.image_set import StreamedImageSet
    from ..data.transforms import resolve_data_config
    from ..models.pretrained_cfg import pretrained_cfg_of
    from ..optimization.inference import fold

    net = load_model(model, **options)
    fold(net)
    model = str(model or options["checkpoint"])
    data_config, cfg = resolve_data_config(net), pretrained_cfg_of(net)
    if data is None and cfg.data not in DOWNLOADS:
        raise click.UsageError(f"{model} was not trained on a set to download: give --data")
    data = str(data or cfg.data)
    split = "test" if split_for(data, "test") else "train"
    if split == "train":
        note(f"{data} has neither test/ nor val/: all its images are measured, also those trained on")
    image_set = images_for(net, model, data, split)
    if isinstance(image_set, StreamedImageSet) and fits_in_memory(image_set):
        with progress("reading", len(image_set)) as advance:
            image_set = image_set.in_memory(advance)
    settings = {"mean": data_config["mean"], "std": data_config["std"], "batch_size": batch_size}
    with progress("measuring", len(image_set) * (1 + tta)) as advance:
        score = evaluate(net, image_set, **settings, on_batch=advance)
        flipped = evaluate(net, image_set, **settings, flip=True, on_batch=advance) if tta else None
    is_known = image_set.name in DOWNLOADS and image_set.name == cfg.data and split == "test"
    of_card = cfg.top1 if is_known else None
    difference = None
    as_on_the_card = options["precision"] == "float32" and score.count == TEST_SET_SIZES.get(image_set.name)
    if of_card is not None and as_on_the_card:
        difference = round(score.top1 - of_card, 2)  # the digits of a card
    if as_json:
        measured = {
            "model": model,
            "data": image_set.name,
            "images": score.count,
            "top1": score.top1,
            "top1_of_card": of_card,
            "top1_minus_card": difference,
            "top1_with_flips": None if flipped is None else flipped.top1,
            "top5": score.top5,
            "loss": score.loss,
            "images_per_second": score.images_per_second,
        }
        click.echo(json.dumps(measured, indent=2, allow_nan=False))
        return
    say(f"{model} on {score.count:,} images of {image_set.name}")
    say(f"top-1  {score.top1:.2f}%  (error {100 - score.top1:.2f}%)")
    if of_card is not None:
        say(f"card   {of_card:.2f}%  (error {100 - of_card:.2f}%)")
    if difference is not None:
        matches = abs(difference) <= CARD_TOLERANCE
        say("matches the card" if matches else f"differs from the card by {difference:+.2f} points")
    say(f"top-5  {score.top5:.2f}%")
    say(f"loss   {score.loss:.4f}")
    say(f"speed  {score.images_per_second:,.0f} images/s")
    if flipped is not None:
        say(f"top-1 with flips  {flipped.top1:.2f}%  (error {100 - flipped.top1:.2f}%)")
