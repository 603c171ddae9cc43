"""The report opened as people open it: from disk, in a browser, without a network."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cosmos_ops.evaluation.charts import Bar, Line, difference_chart, line_chart, ticks
from cosmos_ops.evaluation.report_clips import PER_KIND, Ranking, choose
from tests.evaluation.conftest import CLIP, DATASET, EVALUATION, PROMPTS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--virtual-time-budget=10000", "--dump-dom",
)  # fmt: skip
PROBE = """<script>(async () => {
  const videos = [...document.querySelectorAll("video")], wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const ranks = () => [...document.querySelectorAll(".clip .rank")].map((rank) => rank.textContent);
  const choose = (id, value) => { const select = document.getElementById(id); select.value = value; select.dispatchEvent(new Event("change")); };
  await Promise.all(videos.map((v) => v.readyState >= 2 ? 0 : new Promise((done) => { v.onloadeddata = v.onerror = done; setTimeout(done, 5000); })));
  const out = { videos: videos.map((v) => [v.readyState, v.videoWidth, v.error && v.error.message]) };
  document.getElementById("play").click();
  await wait(600);
  out.moved = Math.min(...videos.map((v) => v.currentTime));
  document.getElementById("play").click();
  await wait(200);
  out.together = [...document.querySelectorAll(".clip")].every((card) => new Set([...card.querySelectorAll("video")].map((v) => v.currentTime)).size === 1);
  out.best = ranks(); choose("order", "worst"); out.worst = ranks(); choose("metric", "ssim"); out.ssim = ranks();
  out.width = document.documentElement.scrollWidth; out.window = window.innerWidth;
  document.body.dataset.outcome = JSON.stringify(out);
})();</script>"""


@pytest.fixture(scope="module")
def report(leaderboard) -> str:
    return leaderboard.file("report.html").read_text()


def test_one_file_that_refers_to_nothing_else(report):
    sources = re.findall(r'\b(?:src|href|srcset|action|poster)="([^"]*)"', report)
    assert len(sources) > 10 and all(source.startswith("data:") for source in sources)
    assert "http:" not in report and "https:" not in report
    assert "default-src 'none'" in report
    assert len(report) < 5_000_000


def test_text_from_the_data_is_escaped(report):
    assert "<b>&" not in report
    assert html.escape(PROMPTS[1]) in report


def test_numbers_lineage_and_honest_notes_are_there(report, world, leaderboard):
    board = json.loads(leaderboard.file("scoreboard.json").read_text())
    for wanted in (DATASET, EVALUATION, world.adapter.key, world.adapter.data_version, "8 of 4 held-out episodes", "not available: needs the pretrained LPIPS"):
        assert html.escape(wanted) in report, wanted
    for note in board["notes"]:
        assert html.escape(note) in report
    assert f"{board['scores']['lora-r8']['psnr']['mean']:.2f}" in report
    assert f"{board['paired']['lora-r8']['ssim']['diff']:+.3g}" in report
    assert "validation" in report and report.count("<video") == 6 * 3
    # The incumbent is the recipe's adapter: a line, not a row and not a video.
    assert "the same weights as lora-r8" in report and 'aria-label="incumbent"' not in report


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to open the report with")
@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_plays_the_videos_together_and_sorts_them(report, tmp_path, width):
    page = tmp_path / "report.html"
    page.write_text(report.replace("</body>", f"{PROBE}</body>"))
    seen = open_in_browser(page, tmp_path / "profile", width)
    assert seen["videos"] == [[4, CLIP.width, None]] * 18
    assert seen["moved"] > 0.1 and seen["together"]
    assert seen["best"] == seen["worst"][::-1] and len(set(seen["best"])) > 1
    assert all("ssim, lora-r8 against base" in rank for rank in seen["ssim"])
    assert seen["width"] <= seen["window"], "the page scrolls sideways"


def open_in_browser(page: Path, profile: Path, width: int) -> dict:
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},1200", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'data-outcome="([^"]*)"', dom)
    assert found, "the page's script did not run to its end"
    return json.loads(html.unescape(found.group(1)))


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
