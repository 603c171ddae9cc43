"""Attention kernels: whichever is taken, the numbers are the same, and one that cannot serve is left out."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode

from cosmos_ops.training.kernels import DEFAULT, attention, fastest_attention


class Seen(TorchDispatchMode):
    """Names of the attention kernels that ran."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "attention" in func.__name__:
            self.names.add(func.__name__.split(".")[0])
        return func(*args, **(kwargs or {}))


def attend(kernel: str) -> tuple[list[torch.Tensor], set[str]]:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, 8, 200, 32, generator=generator).requires_grad_() for _ in range(3)]
    with Seen() as seen, attention(kernel):
        out = scaled_dot_product_attention(*inputs)
        out.square().mean().backward()
    return [out.detach(), *(tensor.grad for tensor in inputs)], seen.names


@pytest.mark.parametrize("kernel", ["flash", "math", "cudnn", DEFAULT])
def test_every_kernel_gives_the_same_outputs_and_gradients(kernel):
    exact, plain = attend("math")
    got, seen = attend(kernel)
    for ours, wanted in zip(got, exact, strict=True):
        assert (ours - wanted).norm() < 1e-5 * wanted.norm()
    # A CPU has no cuDNN: the next one serves.
    assert ("_scaled_dot_product_flash_attention_for_cpu" in seen) == (kernel != "math")
    assert "_scaled_dot_product_flash_attention_for_cpu" not in plain


def test_the_fastest_is_taken_and_one_that_fails_is_left_out():
    calls = []

    def work() -> None:
        name = ("flash", "math", DEFAULT)[len(calls) // 2]
        calls.append(name)
        if name == "flash":
            raise RuntimeError("no kernel for this card")
        for _ in range(1 if name == DEFAULT else 60):
            torch.ones(300, 300) @ torch.ones(300, 300)

    calls.append("flash")  # it fails at its first call
    name, seconds = fastest_attention(work, torch.device("cpu"), ("flash", "math", DEFAULT))
    assert name == DEFAULT and set(seconds) == {"math", DEFAULT} and calls.count("math") == 2
    with pytest.raises(RuntimeError, match="own error"):
        fastest_attention(lambda: (_ for _ in ()).throw(RuntimeError("own error")), torch.device("cpu"))
