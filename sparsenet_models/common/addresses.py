"""Where the library's code and its site are published."""

from __future__ import annotations

REPOSITORY = "https://github.com/sparsenet-models/sparsenet_models"
SITE = "https://sparsenet-models.github.io/sparsenet_models/"


def weight_page(name: str) -> str:
    """Return the address of the card of a bundled weight, ``architecture.tag``, on the site."""
    return f"{SITE}weights/#{name.replace('.', '')}"
