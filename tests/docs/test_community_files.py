"""What GitHub reads: how to cite, the forms for issues, the workflow that publishes the site."""

from __future__ import annotations

import re

import pytest
import yaml
from support.repository import REPOSITORY

from sparsenet_models import __version__
from sparsenet_models.common.addresses import REPOSITORY as ADDRESS
from sparsenet_models.common.addresses import SITE

FORMS = sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_citation_has_the_librarys_version_and_the_paper_of_the_readme():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["version"], citation["url"]) == (__version__, SITE)
    assert citation["repository-code"] == ADDRESS
    paper = citation["preferred-citation"]
    assert f"title={{{paper['title']}}}" in README
    authors = " and ".join(f"{each['family-names']}, {each['given-names']}" for each in paper["authors"])
    assert f"author={{{authors}}}" in README
    assert f"year={{{paper['year']}}}" in README


@pytest.mark.parametrize(
    "path", [form for form in FORMS if form.stem != "config"], ids=lambda path: path.stem
)
def test_a_form_has_what_github_asks_of_it(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert all(form[key] for key in ("name", "description", "body"))
    names = [field["id"] for field in form["body"]]
    assert len(names) == len(set(names))
    for field in form["body"]:
        assert field["type"] in ("textarea", "input", "dropdown", "checkboxes")
        assert field["attributes"]["label"]


def test_a_weakness_is_sent_to_a_private_report():
    (link,) = yaml.safe_load((FORMS[0].parent / "config.yml").read_text(encoding="utf-8"))["contact_links"]
    assert link["url"].startswith(f"{ADDRESS}/security/")


def test_the_workflow_installs_what_the_extra_has_and_builds_strictly():
    workflow = (REPOSITORY / ".github" / "workflows" / "docs.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(workflow)["jobs"]
    steps = [step["run"] for step in jobs["build"]["steps"] if "run" in step]
    assert "mkdocs build --strict" in steps
    extra = re.search(r"^docs = (.*)$", (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert extra is not None
    packages = re.findall(r'"(mk[^"]+)"', extra[1])
    assert re.findall(r'"([^"]+)"', steps[0]) == packages
    assert jobs["publish"]["needs"] == "build"
