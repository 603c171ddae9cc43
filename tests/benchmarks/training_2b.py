"""The 2B geometry on one CUDA device, random weights: the plain step against ours with LoRA and DoRA, in turns.

Our step is built up one optimisation at a time, each line with all before it, so that the table shows what each brought; `lora` and `dora` are
under the plan for the device found, and follow under that for a 24 GB card. Weights are random (they take as long), in bfloat16. The opponent's
text encoder has Qwen2.5-VL-7B's 28 layers of width 3584 where the device has 60 GB or more, else 4 of them: the less it costs the better the
opponent looks. Utilisation counts 0.90 PFLOP an update (forward and activation
backward, no recompute) against the bfloat16 matrix ceiling measured in the same run.

Written without a GPU at hand: it has run on none yet.
"""

import contextlib
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from cosmos_ops.base_models.cosmos import CosmosPredict25
from cosmos_ops.base_models.cosmos_skeleton import denoiser_skeleton
from cosmos_ops.profiles import load_profile
from cosmos_ops.recipes import resolve_recipe
from cosmos_ops.training.adapters import attach_adapter, compute_in_half
from cosmos_ops.training.kernels import DEFAULT, attention, fastest_attention
from cosmos_ops.training.memory import MemorySettings, plan_memory
from cosmos_ops.training.objective import draw, sample_losses
from cosmos_ops.training.recompute import set_recompute
from cosmos_ops.training.schedule import make_optimizer
from tests.benchmarks.without import modulate_by_token, pefts_dora

STEP_PFLOP = 0.90
_DEVICE = torch.device("cuda")
_LADDER = {
    "cached": "latents and text from the cache",
    "cached, by frame": "modulation by frame",
    "cached, by frame, half": "adapters that take their input in half precision",
    "cached, by frame, half, kernel": "the fastest attention kernel",
    "lora": "the device's memory plan (recompute)",
}
"""Contender -> what it has that the one before has not."""


def rows_2b(updates: int, say: Callable[[str], None]) -> tuple[list[dict], dict[str, float]]:
    """Rows and ratios; each contender does `updates` updates after two that are not counted."""
    profile = load_profile("cosmos-predict2.5-2b")
    size_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
    ceiling = matrix_ceiling()
    rows = [{"name": "2B: bfloat16 matrix ceiling", "value": round(ceiling / 1e12, 1), "unit": "TFLOP/s"}]
    pace: dict[str, float] = {}
    for name, make in contenders(profile, size_gb).items():  # one at a time: two do not fit together
        try:
            step = make()
            seconds, peak = measure(step, updates)
        except torch.OutOfMemoryError as error:  # the line says so, the others still count
            rows.append({"name": f"2B: {name}: out of memory", "value": round(torch.cuda.max_memory_allocated() / 1e9, 2), "unit": "GB"})
            say(f"2B {name}: {str(error).splitlines()[0]}")
            continue
        finally:
            step = None
            gc.collect()
            torch.cuda.empty_cache()
        if pace and name in _LADDER:
            rows.append({"name": f"2B: brought by {_LADDER[name]}", "value": round(1 / seconds / list(pace.values())[-1], 3), "unit": "x"})
        pace[name] = 1 / seconds
        rows += [
            {"name": f"2B: {name}", "value": round(1 / seconds, 4), "unit": "samples/s"},
            {"name": f"2B: {name}, peak", "value": round(peak / 1e9, 2), "unit": "GB"},
            {"name": f"2B: {name}, of the matrix ceiling", "value": round(STEP_PFLOP * 1e15 / seconds / ceiling, 4), "unit": "1"},
        ]
        say(f"2B {name}: {seconds:.2f} s an update, {peak / 1e9:.1f} GB")
    ratios = {"gpu_2b_samples_per_s": ("lora", "plain"), "dora_over_lora_step": ("lora", "dora")}
    return rows, {name: pace[over] / pace[under] for name, (over, under) in ratios.items() if over in pace and under in pace}


def contenders(profile, size_gb: float) -> dict[str, Callable[[], Callable[[], object]]]:
    """Name -> what makes a step, in the order they run."""
    made: dict[str, Callable[[], Callable[[], object]]] = {"plain": lambda: _plain(profile, size_gb)}
    lora = replace(resolve_recipe("lora-r32", profile), batch_size=1)
    plan = plan_memory(profile.base_model, profile.clip, lora, size_gb).settings
    full = MemorySettings("full", "none", 1, 1)
    steps = ({"by_frame": False, "half": False, "kernel": DEFAULT}, {"half": False, "kernel": DEFAULT}, {"kernel": DEFAULT}, {})
    for name, less in zip(_LADDER, steps, strict=False):
        made[name] = lambda less=less: _ours(profile, lora, full, **less)
    made["lora"] = lambda: _ours(profile, lora, plan)
    dora = replace(resolve_recipe("dora-r32", profile), batch_size=1)
    made["dora, PEFT's own modules"] = lambda: _ours(profile, dora, plan, fast_dora=False)
    made["dora"] = lambda: _ours(profile, dora, plan_memory(profile.base_model, profile.clip, dora, size_gb).settings)
    for recipe in (lora, dora):
        frugal = plan_memory(profile.base_model, profile.clip, recipe, 24).settings
        made[f"{recipe.method}, 24 GB plan"] = lambda recipe=recipe, frugal=frugal: _ours(profile, recipe, frugal)
    return made


def matrix_ceiling(size: int = 8192, repeats: int = 20) -> float:
    """Floating-point operations a second of a large bfloat16 product."""
    left, right = (torch.randn(size, size, device=_DEVICE, dtype=torch.bfloat16) for _ in range(2))
    seconds, _ = measure(lambda: left @ right, repeats)
    return 2 * size**3 / seconds


def measure(step: Callable[[], object], updates: int) -> tuple[float, int]:
    """Median seconds of a step and the most bytes it took."""
    for _ in range(2):
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(updates):
        begun = time.perf_counter()
        step()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds), torch.cuda.max_memory_allocated()


def _random_(model: torch.nn.Module) -> torch.nn.Module:
    model = model.to_empty(device=_DEVICE)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.normal_(std=0.02)
    return model.requires_grad_(False)


def _ours(
    profile, recipe, settings: MemorySettings, by_frame: bool = True, half: bool = True, fast_dora: bool = True, kernel: str | None = None
) -> Callable[[], object]:
    model = CosmosPredict25.skeleton(profile.base_model)
    model.denoiser, model.device = _random_(denoiser_skeleton(profile.base_model)[0]), _DEVICE
    if not by_frame:
        modulate_by_token(model.denoiser)
    set_recompute(model.denoiser, settings.activation_checkpointing, settings.offload)
    with contextlib.nullcontext() if fast_dora else pefts_dora():
        parameters = attach_adapter(model.denoiser, recipe, model.lora_targets)
    if half:
        compute_in_half(model.denoiser)
    model.denoiser.train()
    optimizer = make_optimizer(recipe, parameters.values())
    clip = profile.clip
    shape = model.latent_shape(clip.frames, clip.height, clip.width)
    clean = torch.randn(1, *shape, device=_DEVICE)
    text = torch.randn(1, model.text_tokens, model.text_width, device=_DEVICE)
    place = iter(range(10**9))

    def forward_and_backward() -> None:
        drawn = draw(recipe, [next(place)], shape).to(_DEVICE)
        sample_losses(model, clean, text, torch.zeros_like(text[0]), drawn).mean().backward()

    chosen = kernel or fastest_attention(forward_and_backward, _DEVICE)[0]
    optimizer.zero_grad(set_to_none=True)

    def step() -> None:
        with attention(chosen):
            forward_and_backward()
        torch.nn.utils.clip_grad_norm_(list(parameters.values()), recipe.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _plain(profile, size_gb: float) -> Callable[[], object]:
    from diffusers import AutoencoderKLWan, Cosmos2_5_PredictBasePipeline, CosmosTransformer3DModel
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from cosmos_ops.base_models.cosmos_skeleton import published_config
    from cosmos_ops.base_models.guardrail import Off
    from cosmos_ops.base_models.nano.build import make_scheduler
    from cosmos_ops.base_models.nano.tokenizer import build_tokenizer
    from tests.benchmarks.plain_step import PlainTrainer

    layers = 28 if size_gb >= 60 else 4
    text = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": layers, "num_attention_heads": 28, "num_key_value_heads": 4}
    text |= {"rope_theta": 1e6, "rope_scaling": {"mrope_section": [16, 24, 24], "rope_type": "default", "type": "default"}}
    tokenizer = build_tokenizer()
    tokenizer.model_max_length = 512
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            vae = AutoencoderKLWan()
            config = published_config(profile.base_model.source) | {"crossattn_proj_in_channels": layers * 3584}
            transformer = CosmosTransformer3DModel.from_config(config)
            encoder = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text))
    finally:
        torch.set_default_dtype(before)
    pipeline = Cosmos2_5_PredictBasePipeline(
        text_encoder=_random_(encoder), tokenizer=tokenizer, transformer=_random_(transformer), vae=_random_(vae), scheduler=make_scheduler(),
        safety_checker=Off(),
    )  # fmt: skip
    clip = profile.clip
    trainer = PlainTrainer(pipeline, 512, (clip.height, clip.width), "lora", 32)
    pixels = torch.rand(1, 3, clip.frames, clip.height, clip.width) * 2 - 1
    return lambda: trainer.step_on(pixels, "Pick up the red block and put it into the box.")
