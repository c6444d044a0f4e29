"""Every link within the repository and the site leads to a file, a page and a heading that exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from support.repository import REPOSITORY

from sparsenet_models.common.addresses import REPOSITORY as ADDRESS
from sparsenet_models.common.addresses import SITE, weight_page
from sparsenet_models.models.listing import list_pretrained

DOCS = REPOSITORY / "docs"
PAGES = [
    *REPOSITORY.glob("*.md"),
    *sorted(DOCS.rglob("*.md")),
    *(REPOSITORY / "examples").rglob("*.md"),
    *(REPOSITORY / ".github").rglob("*.md"),
]
LINK = re.compile(
    r"""\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)|^\[[^\]]+\]:\s+(\S+)|(?:href|src)="([^"]+)\"""", re.M
)
SNIPPET = re.compile(r'^--8<-- "([^":]+)(?::(\d+):)?"$', re.M)
FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2[ `~]*$", re.M | re.S)


@cache
def text_of(page: Path) -> str:
    """Return a page with the files that it includes, without its blocks and pieces of code."""

    def included(match: re.Match) -> str:
        lines = (REPOSITORY / match[1]).read_text(encoding="utf-8").splitlines(keepends=True)
        return "".join(lines[int(match[2] or 1) - 1 :])

    text = SNIPPET.sub(included, page.read_text(encoding="utf-8"))
    return re.sub(r"^(?: {4}|\t).*$", "", FENCE.sub("", text), flags=re.M)


def without_code(text: str) -> str:
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", text)


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors that GitHub and the site both give to a page's headings, and its explicit ones."""
    both, seen = set(), dict[str, int]()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text_of(page), re.M):
        if (explicit := re.search(r"\{ *#([^ }]+)[^}]*\}$", heading)) is not None:
            both.add(explicit[1])
            continue
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
        github = re.sub(r"[^\w\- ]", "", words.lower()).strip().replace(" ", "-")
        if github == re.sub(r"[-\s]+", "-", github):
            both.add(github if github not in seen else f"{github}-{seen[github]}")
            seen[github] = seen.get(github, 0) + 1
    return frozenset(
        both
        | set(re.findall(r'\bid="([^"]+)"', text_of(page)))
        | set(re.findall(r"^::: ([\w.]+)$", text_of(page), re.M))
    )


def links(page: Path) -> list[str]:
    return [next(filter(None, found)) for found in LINK.findall(without_code(text_of(page)))]


def fault_of(link: str, page: Path) -> str | None:
    """Return what is wrong with a link of a page; None for a good one, or one to another host."""
    if link.startswith(SITE):
        path, _, anchor = link.removeprefix(SITE).partition("#")
        target = DOCS / f"{path.strip('/') or 'index'}.md"
        if path.strip("/") and (DOCS / path / "index.md").is_file():
            target = DOCS / path / "index.md"
    elif link.startswith((f"{ADDRESS}/blob/main/", f"{ADDRESS}/tree/main/")):
        path, _, anchor = re.sub(r"^.*?/(blob|tree)/main/", "", link).partition("#")
        target = REPOSITORY / path
    elif re.match(r"[a-z][a-z+.-]*:", link):
        return None
    else:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if page.is_relative_to(DOCS) and not target.is_relative_to(DOCS):
            where = target.relative_to(REPOSITORY).as_posix()
            return f"leads out of docs/, where the site has nothing; write {ADDRESS}/blob/main/{where}"
        if page.is_relative_to(DOCS) and target.is_dir():
            return "is a folder, which the site does not show"
    if not target.exists():
        return f"there is no {target.relative_to(REPOSITORY)}"
    if anchor and target.suffix == ".md" and anchor not in anchors(target):
        return f"{target.relative_to(REPOSITORY)} has no heading #{anchor}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_every_link_of_a_page_leads_to_something(page):
    faults = {link: fault for link in links(page) if (fault := fault_of(link, page)) is not None}
    assert faults == {}


def test_links_are_found_and_wrong_ones_are_told(tmp_path):
    assert {"docs/finetuning.md", "docs/figures/aggregation.png"} <= set(links(REPOSITORY / "README.md"))
    page = DOCS / "finetuning.md"
    assert "has no heading" in str(fault_of("backbone.md#nowhere", page))
    assert "there is no docs/nowhere.md" in str(fault_of("nowhere.md", page))
    assert "leads out of docs/" in str(fault_of("../README.md", page))
    assert "is a folder" in str(fault_of("runs", page))
    assert "there is no" in str(fault_of(f"{SITE}nowhere/", page))
    assert fault_of(f"{ADDRESS}/blob/main/README.md", page) is None


@pytest.mark.parametrize("name", list_pretrained())
def test_a_weights_address_on_the_site_is_a_heading_of_its_page(name):
    assert fault_of(weight_page(name), DOCS / "weights.md") is None


def test_the_site_is_built_for_the_addresses_that_the_library_names():
    settings = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    assert f"site_url: {SITE}\n" in settings
    assert f"link: {ADDRESS}\n" in settings
    assert f"edit_uri_template: {ADDRESS}/blob/main/docs/" in settings


def test_every_page_is_in_the_sites_navigation():
    settings = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"[\w/-]+\.md", settings.partition("\nnav:")[2].partition("\n\n")[0])
    assert len(listed) == len(set(listed))
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert set(listed) == pages - {"runs/README.md"}
