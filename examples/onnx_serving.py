"""Export a bundled weight to ONNX and serve it with onnxruntime: the answers of `sparsenet predict`.

    pip install ".[export]" && python examples/onnx_serving.py

A server needs only ``Classifier`` below, numpy, Pillow, onnxruntime and the file, whose metadata contain the
image configuration and the class names. It imports no torch.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

PHOTOS = sorted((Path(__file__).parent / "photos").glob("*.jpg"))
FORMATS = ("JPEG",)
"""Of pictures that a server opens. Pillow knows more, among them EPS, for which it starts a program.

`sparsenet predict` lays transparent pictures, such as a PNG may be, on white; do the same before you add one.
"""
TOLERANCE = 1e-3
"""The most that a probability may differ."""


class Classifier:
    """An exported net: image files to class names and probabilities."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.class_names = json.loads(metadata["class_names"])
        _, self.height, self.width = json.loads(metadata["input_size"])
        self.crop_pct = json.loads(metadata["crop_pct"])
        self.filter = Image.Resampling[metadata["interpolation"].upper()]
        self.mean, self.std = (np.array(json.loads(metadata[key]), np.float32) for key in ("mean", "std"))

    def read(self, path: Path) -> np.ndarray:
        """Return an image ``(3, H, W)``: scaled to cover the input, cropped at its centre, normalised."""
        image = ImageOps.exif_transpose(Image.open(path, formats=FORMATS)).convert("RGB")
        width, height = int(self.width / self.crop_pct), int(self.height / self.crop_pct)
        if height * image.width >= width * image.height:
            width = height * image.width // image.height
        else:
            height = width * image.height // image.width
        image = image.resize((width, height), self.filter)
        left, top = round((image.width - self.width) / 2), round((image.height - self.height) / 2)
        image = image.crop((left, top, left + self.width, top + self.height))
        return ((np.asarray(image, np.float32) / 255 - self.mean) / self.std).transpose(2, 0, 1)

    def __call__(self, paths: list[Path]) -> list[dict[str, float]]:
        """Return the probability of every class, for each image."""
        images = np.stack([self.read(path) for path in paths])
        (logits,) = self.session.run(["logits"], {"images": images})
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return [
            dict(zip(self.class_names, row.tolist())) for row in shifted / shifted.sum(axis=1, keepdims=True)
        ]


@click.command()
@click.option("--model", default="sparsenet_bc_40_k12.cifar10", show_default=True)
def main(model: str) -> None:
    """Compare the predictions of onnxruntime and `sparsenet predict` for the example photographs."""
    sparsenet = [sys.executable, "-m", "sparsenet_models"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "net.onnx"
        subprocess.run([*sparsenet, "export", model, "--format", "onnx", "--out", str(file)], check=True)
        classifier = Classifier(file)
        classifier(PHOTOS)  # the first call takes longer
        start = time.perf_counter()
        served = classifier(PHOTOS)
        milliseconds = 1000 * (time.perf_counter() - start) / len(PHOTOS)
    predict = [*sparsenet, "predict", *map(str, PHOTOS), "--model", model, "--top-k", "1000", "--json"]
    answers = json.loads(subprocess.run(predict, check=True, capture_output=True, text=True).stdout)

    right = 0
    for path, probabilities, answer in zip(PHOTOS, served, answers):
        expected = {entry["label"]: entry["probability"] for entry in answer["predictions"]}
        best = max(probabilities, key=probabilities.__getitem__)
        difference = max(abs(probabilities[label] - p) for label, p in expected.items())
        if difference > TOLERANCE:
            raise click.ClickException(f"{path.name}: a probability differs by {difference:.4f}")
        right += path.name.startswith(best)
        print(f"{path.name:20} {best:12} {probabilities[best]:6.1%}   predict: {expected[best]:6.1%}")
    chance = len(PHOTOS) / len(classifier.class_names)
    print(
        f"equal answers; {right} of {len(PHOTOS)} right, chance {chance:.1f}; {milliseconds:.1f} ms an image"
    )


if __name__ == "__main__":
    main()
