"""Our DoRA against PEFT's: the same outputs, gradients and files."""

import copy

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from cosmos_ops.training.dora import LowRankDora, speed_up


def plain_and_fast(bias: bool, dtype: torch.dtype = torch.float32, dropout: float = 0.0) -> tuple[nn.Module, nn.Module]:
    """The same two adapted layers, with PEFT's modules and with ours, the adapter moved away from its start."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(48, 96, bias=bias), nn.GELU(), nn.Linear(96, 32, bias=bias)).requires_grad_(False).to(dtype)
    config = LoraConfig(r=6, lora_alpha=15, use_dora=True, target_modules=["0", "2"], lora_dropout=dropout)
    inject_adapter_in_model(config, model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
            parameter.data += 0.3 * torch.randn_like(parameter.data)
    fast = copy.deepcopy(model)
    speed_up(fast, "default")
    assert isinstance(fast[0].lora_magnitude_vector["default"], LowRankDora)
    return model, fast


def relative(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.mark.parametrize("bias", [False, True])
def test_outputs_and_gradients_equal_pefts(bias):
    plain, fast = plain_and_fast(bias)
    x = torch.randn(5, 7, 48)
    plain.optimizer = torch.optim.AdamW([parameter for parameter in plain.parameters() if parameter.requires_grad], lr=0.05, fused=True)
    for _ in range(3):
        gradients = []
        for model in (plain, fast):
            data = x.clone().requires_grad_()
            out = model(data)
            model.zero_grad()
            (out.square().mean() + out.mean()).backward()
            gradients.append((out.detach(), data.grad, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}))
        (out_p, x_p, own_p), (out_f, x_f, own_f) = gradients
        assert relative(out_f, out_p) < 1e-5 and relative(x_f, x_p) < 1e-5
        assert own_p.keys() == own_f.keys() and len(own_p) == 6
        for name, wanted in own_p.items():
            assert relative(own_f[name], wanted) < 1e-5, name
        plain.optimizer.step()
        # Adam divides by gradients that may be all rounding, so the two would drift apart; the same weights are compared each time.
        fast.load_state_dict(plain.state_dict())


def test_the_norm_follows_every_change_of_the_weights():
    _, fast = plain_and_fast(False)
    layer = fast[0]
    module, a, b = layer.lora_magnitude_vector["default"], layer.lora_A["default"].weight, layer.lora_B["default"].weight
    frozen = layer.base_layer.weight

    def exact() -> torch.Tensor:
        return torch.linalg.norm(frozen + 2.5 * b @ a, dim=1)

    torch.testing.assert_close(module.row_norms(frozen, a, b, 2.5), exact().detach())
    with torch.no_grad():
        a.add_(0.1)
    torch.testing.assert_close(module.row_norms(frozen, a, b, 2.5), exact().detach())
    b.grad = torch.ones_like(b)
    torch.optim.AdamW([b], lr=0.1, fused=True).step()  # does not raise the tensor's version
    torch.testing.assert_close(module.row_norms(frozen, a, b, 2.5), exact().detach())
    with torch.no_grad():
        frozen.mul_(2.0)
    torch.testing.assert_close(module.row_norms(frozen, a, b, 2.5), exact().detach())


def test_in_bfloat16_it_is_no_further_from_exact_than_pefts():
    exact, _ = plain_and_fast(True)
    plain, fast = plain_and_fast(True, torch.bfloat16)
    for layer, other in zip((exact[0], exact[2]), (plain[0], plain[2]), strict=True):
        layer.base_layer.weight.data = other.base_layer.weight.data.float()
        layer.base_layer.bias.data = other.base_layer.bias.data.float()
    x = torch.randn(64, 48)
    with torch.no_grad():
        wanted = exact(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            ours, theirs = relative(fast(x.bfloat16()), wanted), relative(plain(x.bfloat16()), wanted)
    assert ours < 0.02 and ours < 1.2 * theirs


def test_with_dropout_pefts_own_formula_is_used():
    plain, fast = plain_and_fast(False, dropout=0.5)
    x = torch.randn(4, 48)
    outputs = []
    for model in (plain, fast):
        torch.manual_seed(1)
        outputs.append(model.train()(x))
    assert torch.equal(*outputs)


def test_the_parameters_keep_pefts_names():
    plain, fast = plain_and_fast(True)
    assert list(plain.state_dict()) == list(fast.state_dict())
