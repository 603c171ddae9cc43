"""The training program of nano: seconds of it must leave a whole pipeline that loads, and a card that says what it is."""

import json

import torch

from cosmos_ops.base_models import load_world_model
from cosmos_ops.base_models.nano import pretrain
from cosmos_ops.profiles import BaseModelSpec
from tests.fixtures.lerobot_factory import write_lerobot


def test_a_short_training_leaves_a_pipeline_and_its_card(tmp_path, capsys):
    log = write_lerobot(tmp_path / "toy", episodes=5, frames=20, fps=8)
    arguments = ["--data", str(log), "--out", str(tmp_path / "out"), "--vae-minutes", "0.01", "--denoiser-minutes", "0.01", "--synthetic", "2"]
    before = torch.get_rng_state()
    torch.manual_seed(1)
    pretrain.main(arguments)
    torch.set_rng_state(before)
    facts = json.loads(capsys.readouterr().out.split("\n{", 1)[1].join(["{", ""]))
    assert facts["data"] == {"toy": {"recordings": 5, "frames": 100}}
    assert facts["vae"]["steps"] > 0 and facts["denoiser"]["steps"] > 0
    assert facts["denoiser"]["windows"] == 4 * 1 + 2
    folder = tmp_path / "out" / "pipeline"
    card = (folder / "MODEL_CARD.md").read_text()
    assert f"L1 {facts['vae']['l1']}" in card and "nano.pretrain --data toy --out DIR --vae-minutes 0.01 --denoiser-minutes 0.01" in card
    model = load_world_model(BaseModelSpec("cosmos-predict2.5", str(folder)), tmp_path / "cache", "cpu")
    assert all(parameter.dtype == torch.float32 for parameter in model.denoiser.parameters())
    text = model.encode_text(["push the red block to the left"])
    made = model.sample(torch.zeros(1, 16, 1, 10, 16), text, model.dropped_text(), [0], (16, 5, 10, 16), 2, 1.0)
    assert torch.isfinite(made).all()


def test_a_stopped_training_goes_on_with_what_it_had(tmp_path, capsys):
    log = write_lerobot(tmp_path / "toy", episodes=5, frames=20, fps=8)
    arguments = ["--data", str(log), "--out", str(tmp_path / "out"), "--synthetic", "2", "--denoiser-minutes", "0.01", "--vae-minutes"]
    pretrain.main([*arguments, "0.01"])
    first = json.loads((tmp_path / "out/work/vae/training.json").read_text())
    weights = (tmp_path / "out/work/vae/diffusion_pytorch_model.safetensors").read_bytes()
    capsys.readouterr()
    pretrain.main([*arguments, "0.01"])
    # Its minutes are spent: nothing is trained or encoded again, nothing is lost.
    assert "encoded" not in capsys.readouterr().out
    assert (tmp_path / "out/work/vae/diffusion_pytorch_model.safetensors").read_bytes() == weights
    pretrain.main([*arguments, "0.03"])
    then = json.loads((tmp_path / "out/work/vae/training.json").read_text())
    assert then["steps"] > first["steps"] and then["attempts"][-1] == {"from_step": first["steps"], "recordings": {"toy": 4, "synthetic": 2}}
    assert then["attempts"][0]["from_step"] == 0
