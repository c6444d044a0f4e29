"""The files in the folder of a training run, by which a reader of images tells it from class folders."""

from __future__ import annotations

OPTIONS = "run.json"
CHECKPOINT = "checkpoint.pt"
METRICS = "metrics.csv"
COPIES = "copies.csv"
CURVES = "curves.png"
CONFUSION = "confusion.png"
LOCK = ".lock"

RUN_FILES = (OPTIONS, CHECKPOINT, "model.safetensors", LOCK)
"""Files of which the folder of a training run has at least one: it may lie in the folder of its images."""

RUN_PICTURES = (CURVES, CONFUSION)
"""The pictures that a training run writes."""
