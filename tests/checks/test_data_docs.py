"""Data Docs of a real drop: pages that read without a network, name rows and remedies, and keep what was checked before."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from assets.checks.data_docs import docs_folder, latest_page, read_history
from assets.checks.tables import check_table
from cosmos_ops.lake import Lake, Manifest
from cosmos_ops.shards.validated import write_outcomes

VERSIONS = ("a" * 64, "b" * 64)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class Links(HTMLParser):
    """What a page links to and loads."""

    def __init__(self, path: Path):
        super().__init__()
        self.hrefs, self.loaded, self.tags = [], [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.add(tag)
        self.hrefs += [given["href"]] if tag == "a" and "href" in given else []
        self.loaded += [given[name] for name in ("src", "href") if name in given and tag in ("script", "link", "img", "iframe")]


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> tuple[Lake, list, list]:
    """Captions in two versions, the first with a clip that has none; a lake, and what the checks of each said."""
    home = tmp_path_factory.mktemp("docs")
    lake, results = Lake(home / "lake"), []
    for number, version in enumerate(VERSIONS):
        captions = ["", "push it" + " and on" * 1000, "I'm sorry, I can't see the video."] if number == 0 else ["push it", "turn it", "lift it"]
        df = pd.DataFrame({"clip_id": [f"clip0{HOSTILE}", "clip1", "clip2"], "caption": captions, "task": ["push", "turn", "lift"]})
        df = df.assign(captioner="task", captioner_version="1", tokens=5, max_tokens=64)
        folder = home / f"captions{number}"
        folder.mkdir()
        df.to_parquet(folder / "captions.parquet")
        manifest = Manifest("captions", "key", version, len(df), {}, path=folder)
        results.append(check_table(lake, "monday", "f" * 12, "captions", manifest, "captions.parquet"))
    return lake, results, [home / f"captions{number}" for number in range(2)]


def test_checks_link_to_a_page_that_names_rows_and_remedies(checked):
    lake, ((errors, warnings), _), _ = checked
    page = Path(errors.metadata["data_docs_path"].path)
    assert errors.metadata["data_docs"].url == page.as_uri() and page.is_file() and page.is_relative_to(lake.root)
    text = page.read_text()
    assert not errors.passed and not warnings.passed
    for said in ("clip0", "add the task text to the log", "clip2", "change captions.vlm.prompt", "what to do"):
        assert said in text, said
    assert "values must be greater than" in text and "Evaluated Expectations" in text, "the library's own words are there"
    assert page == latest_page(docs_folder(lake, "monday", "f" * 12), "captions", VERSIONS[0])


def test_pages_load_nothing_run_nothing_and_their_links_lead_somewhere(checked):
    folder = docs_folder(checked[0], "monday", "f" * 12)
    pages = sorted(folder.rglob("*.html"))
    assert {page.parent.name for page in pages} == {"data_docs", "expectations", "captions"} and len(pages) == 4
    for page in pages:
        found = Links(page)
        assert found.loaded == [] and not {"script", "img", "iframe"} & found.tags, page
        assert "Content-Security-Policy" in page.read_text() and "default-src 'none'" in page.read_text()
        for href in found.hrefs:
            assert href.startswith("#") or (page.parent / href).resolve().is_file(), (page, href)
    (hostile,) = [page for page in pages if "alert(2)" in page.read_text()]
    assert not re.search(r"<img|<script", hostile.read_text()), "what a log says stays text"


def test_the_history_is_in_the_list_and_on_the_check(checked):
    lake, ((first, _), (second, advice)), _ = checked
    entries = read_history(docs_folder(lake, "monday", "f" * 12), "captions")
    assert [entry["data_version"] for entry in entries] == list(VERSIONS)
    assert [(entry["errors"] > 0, entry["rows"]) for entry in entries] == [(True, 3), (False, 3)]
    assert second.passed and advice.passed and second.metadata["rows"].value == 3
    shown = second.metadata["history"].md_str
    assert shown.index(VERSIONS[1][:12]) < shown.index(VERSIONS[0][:12]) and "stopped: 2 errors, 1 warnings" in shown and "passed" in shown
    listed = (docs_folder(lake, "monday", "f" * 12) / "index.html").read_text()
    assert all(entry["page"] in listed for entry in entries) and "stopped: 2 errors, 1 warnings" in listed
    assert first.metadata["history"].md_str.count(VERSIONS[1][:12]) == 0


def test_a_version_that_was_checked_is_not_checked_again_unless_its_page_is_gone(checked):
    lake, _, folders = checked
    docs = docs_folder(lake, "monday", "f" * 12)
    manifest = Manifest("captions", "key", VERSIONS[1], 3, {}, path=folders[1])
    before = len(read_history(docs))
    check_table(lake, "monday", "f" * 12, "captions", manifest, "captions.parquet")
    assert len(read_history(docs)) == before
    latest_page(docs, "captions", VERSIONS[1]).unlink()
    write_outcomes(lake, "monday", "f" * 12, "captions", VERSIONS[1], [])
    again = check_table(lake, "monday", "f" * 12, "captions", manifest, "captions.parquet")
    assert len(read_history(docs)) == before + 1 and again[0].passed and Path(again[0].metadata["data_docs_path"].path).is_file()
