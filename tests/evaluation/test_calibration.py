"""Scores against videos that are known to be worse, and the page that says what each of them sees."""

import re
from pathlib import Path

import numpy as np
import pytest

from cosmos_ops.evaluation.calibration.__main__ import BEGIN, END
from cosmos_ops.evaluation.calibration.measure import FIRST, calibrate, simulated_clips
from cosmos_ops.evaluation.calibration.spoil import SPOILED, stored
from cosmos_ops.evaluation.calibration.table import BLIND, DECLARED, SEES, broken_promises, markdown
from cosmos_ops.evaluation.metrics import SampleMetric, ServedMetric, SetMetric, all_metrics
from cosmos_ops.evaluation.metrics.psnr_ssim import psnr

PAGE = Path(__file__).parents[2] / "docs" / "METRICS.md"


@pytest.fixture(scope="module")
def shares(tmp_path_factory):
    return calibrate(tmp_path_factory.mktemp("models"))


@pytest.mark.slow
def test_metrics_rank_what_they_claim_to_see_and_not_what_they_are_known_not_to(shares):
    assert broken_promises(shares) == []


def test_every_metric_that_can_be_measured_here_is_declared_and_claims_something():
    measured = {column.name for metric in all_metrics().values() if isinstance(metric, SampleMetric | SetMetric) for column in metric.columns}
    served = {metric.name for metric in all_metrics().values() if isinstance(metric, ServedMetric) and metric.server == "inverse_dynamics"}
    assert set(DECLARED) == measured | served
    for column, declared in DECLARED.items():
        assert set(declared) == set(SPOILED) and SEES in declared.values(), column
    for spoil in SPOILED:
        assert any(declared[spoil] == SEES for declared in DECLARED.values()), f"nothing sees {spoil}"
    assert any(declared["frozen"] == BLIND for declared in DECLARED.values()), "a frozen video is some metric's weakness, and the table must say whose"


@pytest.mark.slow
def test_the_page_says_what_is_declared(shares):
    table = PAGE.read_text().split(BEGIN)[1].split(END)[0].strip()
    assert re.sub(r" \d+%", "", table) == re.sub(r" \d+%", "", markdown(shares)), "run python -m cosmos_ops.evaluation.calibration docs/METRICS.md"


@pytest.mark.parametrize("name", SPOILED)
def test_spoiling_leaves_the_given_frames_and_changes_the_rest(name):
    clip, other = simulated_clips(3, 2)
    spoiled = SPOILED[name](clip.frames, other.frames, 5, 0)
    assert spoiled.shape == clip.frames.shape and spoiled.dtype == np.uint8
    np.testing.assert_array_equal(spoiled[:5], clip.frames[:5])
    assert (spoiled[5:] != clip.frames[5:]).any()
    kept = stored(clip.frames)
    assert np.mean([psnr(a, b) for a, b in zip(clip.frames[FIRST:], kept[FIRST:], strict=True)]) > 35


def test_a_broken_promise_is_told():
    perfect = {column: {spoil: 1.0 if word == SEES else 0.0 for spoil, word in declared.items()} for column, declared in DECLARED.items()}
    assert broken_promises(perfect) == []
    perfect["psnr"]["noisy"] = 0.6
    assert broken_promises(perfect) == ["psnr on noisy: declared yes, ranked worse on 60% of clips"]
