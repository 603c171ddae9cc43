"""The report opened as people open it: from disk, in a browser, without a network."""

import html
import json
import re

import pytest

from cosmos_ops.evaluation.charts import Bar, Line, difference_chart, line_chart, ticks
from cosmos_ops.evaluation.report_clips import PER_KIND, Ranking, choose
from cosmos_ops.evaluation.report_parts import differences_section
from tests.browser import CHROMIUM, open_page
from tests.evaluation.conftest import CLIP
from tests.evaluation.toy_lake import DATASET, EVALUATION, PROMPTS

LOADED = "[...document.querySelectorAll('video')].every((video) => video.readyState === 4 || video.error)"
VIDEOS = "[...document.querySelectorAll('video')].map((video) => [video.readyState, video.videoWidth, video.error && video.error.message])"
PLAYED = """(() => {
  const videos = [...document.querySelectorAll("video")], furthest = videos.map(() => 0), patience_s = 60, started_ms = performance.now();
  document.getElementById("play").click();
  return new Promise((done) => {
    const look = (now_ms) => {
      videos.forEach((video, index) => { furthest[index] = Math.max(furthest[index], video.currentTime); });
      if (Math.min(...furthest) > 0.1 || now_ms - started_ms > 1000 * patience_s) done(Math.min(...furthest));
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
})()"""
AT_REST = "[...document.querySelectorAll('video')].every((video) => video.paused && !video.seeking)"
TOGETHER = """[...document.querySelectorAll(".clip")].every(
  (card) => new Set([...card.querySelectorAll("video")].map((video) => video.currentTime)).size === 1)"""
RANKS = """(() => {
  const ranks = () => [...document.querySelectorAll(".clip .rank")].map((rank) => rank.textContent);
  const choose = (id, value) => { const select = document.getElementById(id); select.value = value; select.dispatchEvent(new Event("change")); };
  const out = { best: ranks() };
  choose("order", "worst"); out.worst = ranks();
  choose("metric", "ssim"); out.ssim = ranks();
  return out;
})()"""


@pytest.fixture(scope="module")
def report(leaderboard) -> str:
    return leaderboard.file("report.html").read_text()


def test_one_file_that_refers_to_nothing_else(report):
    sources = re.findall(r'\b(?:src|href|srcset|action|poster)="([^"]*)"', report)
    anchors = {f"#{name}" for name in re.findall(r'<h2 id="([^"]*)"', report)}
    assert len(sources) > 10 and all(source.startswith("data:") or source in anchors for source in sources)
    assert "http:" not in report and "https:" not in report
    assert "default-src 'none'" in report
    assert len(report) < 5_000_000


def test_text_from_the_data_is_escaped(report):
    assert "<b>&" not in report
    assert html.escape(PROMPTS[1]) in report


def test_numbers_lineage_and_honest_notes_are_there(report, world, leaderboard):
    board = json.loads(leaderboard.file("scoreboard.json").read_text())
    weights = (world.adapter.key, world.adapter.data_version)
    for wanted in (DATASET, EVALUATION, *weights, "8 videos of 4 held-out episodes", "not available: needs the pretrained LPIPS"):
        assert html.escape(wanted) in report, wanted
    for note in board["notes"]:
        assert html.escape(note) in report
    assert f"{board['scores']['lora-r8']['psnr']['mean']:.2f}" in report
    assert f"{board['paired']['lora-r8']['ssim']['diff']:+.3g}" in report
    assert "validation" in report and report.count("<video") == 6 * 3
    for section in (
        "Scoreboard",
        "Side by side",
        "Film strips",
        "Against base, paired",
        "Loss curves",
        "Cost of generation",
        "Lineage",
        "By task",
        "By camera",
    ):
        assert report.count(f">{section}</h2>") == 1 and report.count(f">{section}</a>") == 1, section
    # The best, a typical and the worst sample, each with a row of eight moments a source.
    assert report.count('class="strip card"') == 3 and report.count("film strip, ") == 3 * 3 and report.count("<img ") == 3 * 3 * 8
    # The incumbent is the recipe's adapter: a line, not a row and not a video.
    assert "the same weights as lora-r8" in report and 'aria-label="incumbent"' not in report


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to open the report with")
@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_plays_the_videos_together_and_sorts_them(report, tmp_path, width):
    (tmp_path / "report.html").write_text(report)
    with open_page((tmp_path / "report.html").as_uri(), width) as page:
        page.wait_until(LOADED)
        assert page.evaluate(VIDEOS) == [[4, CLIP.width, None]] * 18
        assert page.evaluate(PLAYED) > 0.1
        page.evaluate("document.getElementById('play').click()")
        page.wait_until(AT_REST)
        assert page.evaluate(TOGETHER)
        ranks = page.evaluate(RANKS)
        assert ranks["best"] == ranks["worst"][::-1] and len(set(ranks["best"])) > 1
        assert all("ssim, lora-r8 against base" in rank for rank in ranks["ssim"])
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"


def test_samples_are_chosen_from_both_ends_and_the_middle():
    improvement = {f"s{index:02d}": float(index) for index in range(20)}
    chosen = choose(Ranking("psnr", "lora-r8", improvement))
    assert [key for key, kind in chosen.items() if kind == "best"] == ["s19", "s18"]
    assert [key for key, kind in chosen.items() if kind == "worst"] == ["s01", "s00"]
    assert {key for key, kind in chosen.items() if kind == "typical"} == {"s10", "s09"}


@pytest.mark.parametrize("count", range(1, 3 * PER_KIND + 2))
def test_few_samples_are_all_shown_once(count):
    chosen = choose(Ranking("psnr", "base", {f"s{index}": float(index) for index in range(count)}))
    assert len(chosen) == min(count, 3 * PER_KIND)
    assert chosen[f"s{count - 1}"] == "best"
    if count > 1:
        assert chosen["s0"] == "worst"


def test_what_is_decided_against_the_incumbent_is_shown(leaderboard):
    board = json.loads(leaderboard.file("scoreboard.json").read_text())
    assert "against-incumbent" not in differences_section(board, ["base", "lora-r8"]), "an incumbent that is the recipe's own adapter is no opponent"
    shown = differences_section(board, ["base", "lora-r8", "incumbent"])
    against_base, against_incumbent = shown.split('<h2 id="against-incumbent">')
    assert 'aria-label="psnr (dB)"' in against_incumbent
    assert against_base.count("<circle") == 2 * against_incumbent.count("<circle") > 0


def test_charts_show_withheld_intervals_and_escape_labels():
    chart = difference_chart("psnr", [Bar("a<b", "c0", 1.0, None, None), Bar("b", "c1", -1.0, -2.0, -0.5)])
    assert chart.count("whisker") == 1 and "hollow" in chart and "a&lt;b" in chart and "interval withheld" in chart
    curve = line_chart("x", [Line("l", "c0", [(0, 1.0), (10, 0.5)], dots=True)], "step", (0.0, 1.0))
    assert curve.count("<circle") == 2 and "polyline" in curve
    single = line_chart("x", [Line("l", "c0", [(3, 1.0)])], "step", (1.0, 1.0))
    assert "nan" not in single.lower()


def test_ticks_are_round_and_inside():
    assert ticks(0, 1, 4) == [0, 0.25, 0.5, 0.75, 1]
    assert all(-0.3 <= tick <= 0.9 for tick in ticks(-0.3, 0.9, 4)) and 0 in ticks(-0.3, 0.9, 4)
    assert ticks(2, 2, 4) == [2]
