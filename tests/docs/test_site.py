"""The site is built without a warning, and shows what it was made from."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.repository import REPOSITORY

from sparsenet_models.models.listing import list_pretrained

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason='pip install -e ".[docs]"')
    pytest.importorskip("mkdocstrings", reason='pip install -e ".[docs]"')
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


def test_the_reference_shows_signatures_shapes_and_source(site):
    page = (site / "reference" / "models" / "index.html").read_text(encoding="utf-8")
    assert 'id="sparsenet_models.create_model"' in page
    assert "Source code in" in page
    assert page.count("Raises:") > 5


def test_the_changelog_and_the_cards_are_those_of_the_repository(site):
    changelog = (site / "changelog" / "index.html").read_text(encoding="utf-8")
    assert "0.1.0 (unreleased)" in changelog
    cards = (site / "weights" / "index.html").read_text(encoding="utf-8")
    for name in list_pretrained():
        assert f'id="{name.replace(".", "")}"' in cards
    scored = re.findall("top-1 error on the 10,000 (test|validation) images", cards)
    assert len(scored) == len(list_pretrained())


def test_no_page_fetches_anything_from_another_host(site):
    """Links may lead elsewhere; scripts, styles, fonts and pictures may not come from there."""
    fetched = re.compile(
        r'<(?:script|img|iframe)[^>]*\bsrc="(https?:[^"]+)|<link[^>]*rel="?(?:stylesheet|preconnect)[^>]*href="(https?:[^"]+)'
    )
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    assert {page.name: found for page in pages if (found := fetched.findall(page.read_text("utf-8")))} == {}
