"""Metrics of published networks, with weights of the published names and shapes but drawn by chance: what is computed from them is checked otherwise."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from scipy.linalg import sqrtm
from torch import nn
from torch.nn import functional

from cosmos_ops.errors import UserError
from cosmos_ops.evaluation import cross_view, metrics
from cosmos_ops.evaluation.leaderboard import build_leaderboard, read_scoreboard
from cosmos_ops.evaluation.metrics.frechet import plain_frechet
from cosmos_ops.evaluation.networks.i3d import I3d, I3dNetwork, _padded
from cosmos_ops.evaluation.networks.inception import InceptionNetwork, fid_inception
from cosmos_ops.evaluation.networks.lpips import Lpips, LpipsNetwork
from cosmos_ops.evaluation.networks.matching import Matcher
from cosmos_ops.evaluation.networks.weights import weight_files
from cosmos_ops.evaluation.samples import read_samples
from cosmos_ops.evaluation.served import Task
from cosmos_ops.profiles import load_profile
from tests.evaluation.moving import moving_patch, noisy
from tests.evaluation.toy_lake import DATASET, EVALUATION, write_evaluation_set


def drawn(network: nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of a network as a file would hold them: positive where a head or a variance must be."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        value = torch.randn(tensor.shape, generator=generator) / max(1, tensor[0].numel() if tensor.dim() > 1 else 1) ** 0.5
        tensors[name] = value.abs() + 0.1 if ".model.1." in name or "running_var" in name or name.endswith("bn.weight") else value
    return tensors


@pytest.fixture(scope="module")
def lpips_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("lpips") / "lpips.safetensors"
    save_file(drawn(Lpips()), path)
    return path


@pytest.fixture(scope="module")
def i3d_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("i3d") / "i3d.safetensors"
    save_file(drawn(I3d()), path)
    return path


def formula(real: np.ndarray, generated: np.ndarray) -> float:
    s1, s2 = np.cov(real.T), np.cov(generated.T)
    return float(np.square(real.mean(0) - generated.mean(0)).sum() + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2))))


def test_the_distance_is_the_formula_also_with_fewer_samples_than_numbers():
    rng = np.random.default_rng(0)
    for n, width in ((60, 5), (6, 20)):
        real, made = rng.normal(size=(n, width)), 1.5 * rng.normal(size=(n, width)) + 0.3
        assert plain_frechet(real, made, np.ones((1, n), int), width)[0] == pytest.approx(formula(real, made), rel=1e-4)
    # Weights are repetitions, and several vectors of a sample share its weight.
    row = np.array([[2, 0, 1, 3, 0, 1]])
    again = np.repeat(np.arange(6), row[0])
    assert plain_frechet(real, made, row, 20)[0] == pytest.approx(formula(real[again], made[again]), rel=1e-4)
    pairs = plain_frechet(real.reshape(3, 40), made.reshape(3, 40), np.ones((1, 3), int), 20)[0]
    assert pairs == pytest.approx(formula(real, made), rel=1e-4)


def test_lpips_is_the_weighted_difference_of_normalised_features(lpips_file):
    tensors, network = load_file(lpips_file), LpipsNetwork([lpips_file])
    assert tensors["lin1.model.1.weight"].shape == (1, 192, 1, 1) and tensors["features.10.weight"].shape == (256, 256, 3, 3)
    video = moving_patch(frames=2, height=64, width=80)
    worse = [noisy(video, sigma) for sigma in (0, 15, 60)]
    same, near, far = (network(video, other) for other in worse)
    assert same == pytest.approx(0, abs=1e-9) and 0 < near < far

    def maps(frames):
        x = torch.from_numpy(frames).permute(0, 3, 1, 2).double() / 127.5 - 1
        x = (x - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) / torch.tensor([0.458, 0.448, 0.450])[:, None, None]
        for place, (layer, stride, padding) in enumerate([(0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)]):
            if place in (1, 2):
                x = functional.max_pool2d(x, 3, 2)
            x = torch.relu(functional.conv2d(x, tensors[f"features.{layer}.weight"].double(), tensors[f"features.{layer}.bias"].double(), stride, padding))
            yield x / x.norm(dim=1, keepdim=True).clamp(min=1e-10)

    heads = [tensors[f"lin{place}.model.1.weight"].double()[0] for place in range(5)]
    expected = sum(((a - b) ** 2 * head).sum(1).mean((1, 2)) for a, b, head in zip(maps(video), maps(worse[2]), heads, strict=True)).mean()
    assert far == pytest.approx(float(expected), rel=1e-4)


def test_i3d_has_the_published_tensors_and_pads_as_it_was_trained(i3d_file):
    tensors = load_file(i3d_file)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert shapes["Conv3d_1a_7x7.conv3d.weight"] == (64, 3, 7, 7, 7) and shapes["Mixed_4f.b3b.conv3d.weight"] == (128, 528, 1, 1, 1)
    assert shapes["logits.conv3d.bias"] == (400,) and "Mixed_5c.b2b.bn.running_var" in shapes
    assert sum(tensor.numel() for name, tensor in tensors.items() if "running" not in name) == 12_697_264
    # "Same": every size comes out as size / stride, rounded up, the odd zero at the end.
    for size, kernel, stride in ((17, 7, 2), (112, 3, 2), (9, 3, 2), (5, 2, 2)):
        padded = _padded(torch.ones(1, 1, size, 1, 1), (kernel, 1, 1), (stride, 1, 1))
        assert (padded.shape[2] - kernel) // stride + 1 == -(-size // stride)
    assert _padded(torch.ones(1, 1, 4, 1, 1), (2, 1, 1), (1, 1, 1))[0, 0, :, 0, 0].tolist() == [1, 1, 1, 1, 0]
    network = I3dNetwork([i3d_file])
    logits = network(moving_patch(frames=9, height=32, width=48))
    assert logits.shape == (400,) and np.isfinite(logits).all() and logits.std() > 0
    with pytest.raises(ValueError, match="needs 9 frames"):
        network(moving_patch(frames=8, height=32, width=48))


def test_the_inception_of_fid_pools_inside_and_last_by_the_maximum(tmp_path):
    network = fid_inception()
    usual = torchvision.models.Inception3(num_classes=1008, aux_logits=False, init_weights=False)
    names = {name for name in network.state_dict() if not name.startswith("fc.")}
    assert names == {name for name in usual.state_dict() if not name.startswith("fc.")}
    ones = torch.ones(1, 1, 4, 4)
    for block in (network.Mixed_5b, network.Mixed_6c, network.Mixed_7b):
        assert (block.pooled(ones) == 1).all(), "padding is counted"
    peak = torch.zeros(1, 1, 5, 5)
    peak[..., 2, 2] = 9
    assert network.Mixed_7c.pooled(peak).sum() == 81 and network.Mixed_7b.pooled(peak).max() == 1
    save_file(drawn(network), tmp_path / "inception.safetensors")
    features = InceptionNetwork(weight_files("fid", str(tmp_path)))(moving_patch(frames=1))
    assert features.shape == (1, 2048) and features.std() > 0


def test_named_weights_make_the_metric_available_with_its_interval_and_its_origin(world, generated, lpips_file, i3d_file):
    """On two samples: I3D is heavy for a test, and its interval is withheld then."""
    few = pq.read_table(world.lake.evaluation_set(EVALUATION) / "samples.parquet").to_pylist()[:2]
    write_evaluation_set(world.lake, "weighed", few)
    weights = {"lpips": str(lpips_file), "fvd": str(i3d_file.parent)}
    evaluation = replace(world.profile.evaluation, metrics=("psnr", "lpips", "fid"), weights=weights)
    with_weights = replace(world, profile=replace(world.profile, evaluation=evaluation))
    scored = {name: with_weights.score(manifest, version="weighed") for name, manifest in generated.items()}
    assert set(scored["base"].meta["unavailable"]) == {"fid"} and scored["base"].meta["served"] == ["fvd", "lpips"]
    assert scored["base"].meta["about"]["weights"]["lpips"]["source"] == str(lpips_file)
    rows = [row for row in pq.read_table(scored["base"].file("scores.parquet")).to_pylist() if row["metric"] == "lpips"]
    assert len(rows) == 2 and all(row["value"] > 0 for row in rows)
    board = read_scoreboard(build_leaderboard(world.lake, with_weights.profile, DATASET, "weighed", scored, generated, {"lora-r8": world.adapter}))
    fvd = board["scores"]["base"]["fvd"]
    assert (fvd["n"], fvd["low"]) == (2, None) and fvd["mean"] > 0
    assert any("fvd is one number for the whole set" in note and "Least n for an interval: 8. With n = 2" in note for note in board["notes"])
    assert set(board["paired"]["lora-r8"]) == {"psnr", "lpips", "fvd"}
    assert "lpips" not in board["unavailable"] and "fvd" not in board["unavailable"] and "Inception" in board["unavailable"]["fid"]
    save_file(drawn(Lpips(), seed=1), lpips_file.with_name("other.safetensors"))
    other = replace(evaluation, weights={"lpips": str(lpips_file.with_name("other.safetensors"))})
    assert replace(world, profile=replace(world.profile, evaluation=other)).score(generated["base"], version="weighed").path != scored["base"].path


def test_weights_that_are_not_there_or_not_those_are_refused_in_one_line(world, generated, tmp_path, i3d_file, monkeypatch):
    def score_with(**weights):
        evaluation = replace(world.profile.evaluation, metrics=("psnr",), weights=weights)
        return replace(world, profile=replace(world.profile, evaluation=evaluation)).score(generated["base"])

    (tmp_path / "half.safetensors").write_bytes(i3d_file.read_bytes()[:1000])
    (tmp_path / "empty").mkdir()
    cases = {
        "neither a path that exists nor a Hub id": {"lpips": str(tmp_path / "none")},
        "holds no .safetensors file; other formats": {"lpips": str(tmp_path / "empty")},
        "does not hold LPIPS .*tensors are missing or of another shape": {"lpips": str(i3d_file)},
        "no safetensors file that can be read": {"fvd": str(tmp_path / "half.safetensors")},
        "'psnr' needs none; those that do are lpips, fvd, fid, tse, cse": {"psnr": str(i3d_file)},
        "does not hold LightGlue": {"tse": str(i3d_file)},
    }
    for message, weights in cases.items():
        with pytest.raises(UserError, match=message):
            score_with(**weights)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="not to be had from the Hub"):
        score_with(lpips="nobody/has-this@0123abc")
    path = tmp_path / "profile.yaml"
    nano = (load_profile.__globals__["FOLDER"] / "nano.yaml").read_text()
    path.write_text(nano.replace("min_clips: 2}", "min_clips: 2, weights: {lpips: somewhere}}"))
    assert load_profile(str(path)).evaluation.weights == {"lpips": "somewhere"}


@pytest.mark.slow
def test_the_matcher_gives_places_in_px_of_both_pictures(tmp_path):
    """A matcher whose layers add nothing compares descriptors as they are, so that a picture matches itself point by point."""
    from transformers import LightGlueConfig, LightGlueForKeypointMatching, SuperPointConfig

    torch.manual_seed(0)
    points = SuperPointConfig(keypoint_threshold=0.0, encoder_hidden_sizes=[8, 8, 16, 16], decoder_hidden_size=32, descriptor_decoder_dim=32)
    more = {"num_hidden_layers": 1, "num_attention_heads": 2, "filter_threshold": 0.0, "depth_confidence": -1.0, "width_confidence": -1.0}
    model = LightGlueForKeypointMatching(LightGlueConfig(keypoint_detector_config=points, descriptor_dim=32, **more))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".fc2." in name or name.endswith(("final_projection.bias", "matchability.weight")):
                parameter.zero_()
            elif name.endswith("final_projection.weight"):
                parameter.copy_(20 * torch.eye(32))
            elif name.endswith("matchability.bias"):
                parameter.fill_(10.0)
    model.save_pretrained(tmp_path)
    files = weight_files("tse", str(tmp_path))
    picture = moving_patch(frames=1, height=64, width=96)[0]
    first, second = Matcher(files)(picture, picture)
    assert len(first) > 16
    np.testing.assert_array_equal(first, second)
    assert first.min() >= 0 and 64 < first[:, 0].max() < 96 and 32 < first[:, 1].max() < 64, "right, then down"
    metric = metrics.all_metrics()["tse"].load(files)
    still = np.repeat(picture[None], 3, axis=0)
    assert metric.measure(None, still, 1)["tse_matches"] > 16
    assert metric.floor(metric.reference(still, 1)) == metric.measure(None, still, 1)


def test_cameras_of_one_scene_agree_and_those_of_two_do_not(world, monkeypatch):
    """Points of a moving scene, projected into two cameras; finding them in pixels is the network's part."""
    rng = np.random.default_rng(0)
    scene = rng.uniform(-1, 1, (40, 3)) + [0, 0, 5]

    def seen(points: np.ndarray, offset: float) -> np.ndarray:
        turned = points @ np.array([[np.cos(offset), 0, np.sin(offset)], [0, 1, 0], [-np.sin(offset), 0, np.cos(offset)]]) + [offset, 0.3 * offset, 0]
        return 100 * turned[:, :2] / turned[:, 2:] + 64

    def match(left: np.ndarray, right: np.ndarray):
        moment, consistent = int(left[0, 0, 0]), right[0, 0, 1] == left[0, 0, 1]
        now = scene + 0.1 * moment
        return seen(now, 0.0), seen(now if consistent else now[rng.permutation(40)], 0.4)

    def video(of: int) -> np.ndarray:
        return np.stack([np.full((4, 4, 3), (moment, of, 0), np.uint8) for moment in range(6)])

    one, *_, alone = read_samples(world.lake, EVALUATION)
    again = replace(one, seed=1, sample_key="again")
    samples = [one, replace(one, camera="side", sample_key="side"), again, replace(again, camera="side", sample_key="wrong"), alone]
    videos = {one.sample_key: video(1), "side": video(1), "again": video(1), "wrong": video(2)}
    monkeypatch.setattr(cross_view, "Matcher", lambda files: match)
    monkeypatch.setattr(cross_view, "real_frames", lambda lake, sample: video(1))
    served = cross_view.CrossView([]).measure(Task(world.lake, samples, lambda sample: videos[sample.sample_key], 1, ("cse",)), lambda *step: None)
    values = {key: found["cse"] for key, found in served.values.items()}
    assert values[alone.sample_key] is None
    assert served.references["real"]["side"]["cse"] == pytest.approx(0, abs=1e-4)
    assert values[one.sample_key] == values["side"] == pytest.approx(0, abs=1e-4)
    assert values["again"] == values["wrong"] == pytest.approx(0.729, abs=0.01), "of points matched by chance, those that happen to fit"
