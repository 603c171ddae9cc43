"""The builtin model: the same from the same seed, small, and its tokenizer whole."""

from dataclasses import replace

import torch
from transformers import AutoTokenizer

from cosmos_ops.base_models import load_world_model
from cosmos_ops.base_models.nano.build import WEIGHTS, build_nano, builtin_nano, synthetic_clips
from cosmos_ops.hashing import file_sha256


def weight_hashes(folder):
    return {str(path.relative_to(folder)): file_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_rebuild_is_bit_identical_and_leaves_no_trace(nano_folder, tmp_path):
    before = torch.get_rng_state()
    build_nano(tmp_path / "again", seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled()
    assert weight_hashes(tmp_path / "again") == weight_hashes(nano_folder)


def test_builtin_is_made_once_and_another_seed_is_another_model(cache, nano_folder):
    if WEIGHTS.is_dir():
        assert builtin_nano(cache) == WEIGHTS
        return
    folder = builtin_nano(cache, seed=1)
    stamp = (folder / "manifest.json").stat().st_mtime_ns
    assert builtin_nano(cache, seed=1) == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == stamp
    name = "transformer/diffusion_pytorch_model.safetensors"
    assert file_sha256(folder / name) != file_sha256(nano_folder / name)


def test_sizes(model):
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in (("vae", model.vae), ("text", model.text_encoder), ("denoiser", model.denoiser))}
    assert 0.5e6 < count["vae"] < 0.8e6
    assert 4e6 < count["denoiser"] < 8e6
    assert count["text"] < 0.5e6


def test_latents_of_clips_it_never_saw_are_about_normalised(model):
    clips = ((synthetic_clips(2, seed=99) + 1) * 127.5).to(torch.uint8).movedim(1, -1)
    latents = model.encode_video(clips)
    assert abs(latents.mean().item()) < 0.3
    assert 0.7 < latents.std().item() < 1.4


def test_source_builtin_loads(spec, cache):
    model = load_world_model(replace(spec, source="builtin:nano"), cache, "cpu", parts=("denoiser",))
    assert len(model.revision) == 40


def test_tokenizer_keeps_every_byte_and_knows_robot_words(nano_folder):
    tokenizer = AutoTokenizer.from_pretrained(nano_folder / "tokenizer")
    assert len(tokenizer) == 1024
    for text in ("Größe ±3 mm → 箱", "\x00\x7f \n\t", "".join(map(chr, range(32, 256)))):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("pick up the red cube and place it in the bowl")["input_ids"]) <= 13


def test_chat_template_takes_text_and_lists_of_parts(nano_folder):
    tokenizer = AutoTokenizer.from_pretrained(nano_folder / "tokenizer")
    plain = tokenizer.apply_chat_template([{"role": "user", "content": "wipe the table"}], tokenize=False)
    content = [{"type": "text", "text": "wipe "}, {"type": "text", "text": "the table"}]
    parts = tokenizer.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    assert plain == parts == "<|im_start|>user\nwipe the table<|im_end|>\n"


def test_an_untrained_vae_shows_the_clip_blurred(model):
    clips = ((synthetic_clips(1, seed=42) + 1) * 127.5).round().to(torch.uint8).movedim(1, -1)
    made = model.decode_latents(model.encode_video(clips)).float()
    error = (made - clips.float()).square().mean().item()
    constant = (clips.float() - clips.float().mean((1, 2, 3), keepdim=True)).square().mean().item()
    assert error < 0.3 * constant
    assert made.min() >= 0 and made.max() <= 255 and made.std() > 20
