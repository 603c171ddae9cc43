"""One video from an image and a prompt, with everything encoded here and now."""

import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from cosmos_ops.base_models import WorldModel, load_world_model
from cosmos_ops.base_models.guardrail import guardrail
from cosmos_ops.errors import UserError
from cosmos_ops.evaluation.sampling import VIDEO_CRF, VIDEO_GOP, VIDEO_PRESET, device_name, peak_memory_bytes, safe_frames
from cosmos_ops.lake import atomic_write
from cosmos_ops.profiles import ClipGeometry, GenerationSettings, Profile
from cosmos_ops.progress import Progress, silent
from cosmos_ops.training.adapters import check_base, load_adapter
from cosmos_ops.video.encode import encode_mp4
from cosmos_ops.video.transform import FrameFitter


def generate_one(
    profile: Profile, cache: Path, image_path: Path, prompt: str, adapter_dir: Path | None, seed: int, out_path: Path, device: str, progress: Progress = silent
) -> dict[str, Any]:
    """Write the video that the base model, or an adapter on it, continues an image with. Returns what was used and what it cost.

    The image is fitted to the profile's geometry as clips are, and is the first frame. The prompt is used as it is. The video runs at
    the profile's highest rate. Raises `UserError` for an image that cannot be read, an empty prompt, a folder that is no adapter and
    an output path that is no .mp4 in an existing folder.
    """
    if not prompt.strip():
        raise UserError("the prompt is empty; say what the robot should do")
    if out_path.suffix.lower() != ".mp4" or not out_path.parent.is_dir():
        raise UserError(f"{out_path}: the video is written as .mp4 into a folder that exists; name such a file")
    first = read_image(image_path, profile.clip)
    clip, generation = profile.clip, profile.generation
    started = time.perf_counter()
    progress(0, generation.steps, "loading the model")
    model = load_world_model(profile.base_model, cache, device)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    if adapter_dir is not None:
        check_base(adapter_dir, model.revision)
        load_adapter(model.denoiser, adapter_dir)
    checker = guardrail(profile.base_model.guardrail)
    checker.to(device)
    loaded = time.perf_counter()
    frames = _sampled(model, clip, generation, checker, first, prompt, seed, str(out_path), progress)
    with atomic_write(out_path) as part:
        encode_mp4(frames, clip.max_fps, part, crf=VIDEO_CRF, preset=VIDEO_PRESET, gop=VIDEO_GOP)
    progress(generation.steps, generation.steps, "written")
    return {
        "prompt": prompt,
        "seed": seed,
        "steps": generation.steps,
        "guidance": generation.guidance,
        "frames": len(frames),
        "fps": clip.max_fps,
        "base_revision": model.revision,
        "guardrail": profile.base_model.guardrail,
        "device": device_name(device),
        "load_s": round(loaded - started, 3),
        "seconds": round(time.perf_counter() - loaded, 3),
        "peak_memory_bytes": peak_memory_bytes(device),
    }


def make_frames(model: WorldModel, clip: ClipGeometry, generation: GenerationSettings, policy: str, image: bytes, prompt: str, seed: int) -> np.ndarray:
    """The frames, uint8 RGB [T, H, W, 3], that a loaded model continues an image file's bytes with. `policy` names the guardrail. Errors as `generate_one`."""
    if not prompt.strip():
        raise UserError("the prompt is empty; say what the robot should do")
    with tempfile.NamedTemporaryFile(suffix=".image") as file:
        file.write(image)
        file.flush()
        first = read_image(Path(file.name), clip)
    checker = guardrail(policy)
    checker.to(model.device)
    return _sampled(model, clip, generation, checker, first, prompt, seed, "this request", silent)


def _sampled(
    model: WorldModel,
    clip: ClipGeometry,
    generation: GenerationSettings,
    checker: Any,
    first: np.ndarray,
    prompt: str,
    seed: int,
    name: str,
    progress: Progress,
) -> np.ndarray:
    with torch.inference_mode():
        conditioning = model.encode_video(torch.from_numpy(first)[None, None])
        negative = model.dropped_text() if generation.negative_prompt is None else model.encode_text([generation.negative_prompt])
        latents = model.sample(
            conditioning,
            model.encode_text([prompt]),
            negative,
            [seed],
            model.latent_shape(clip.frames, clip.height, clip.width),
            generation.steps,
            generation.guidance,
            on_step=lambda step, steps: progress(step, steps, "sampling"),
        )
        frames = model.decode_latents(latents)[0].cpu().numpy()
    return safe_frames(checker, frames, prompt, name)


def read_image(path: Path, clip: ClipGeometry) -> np.ndarray:
    """An image file as the clip's first frame, uint8 RGB [H, W, 3]. Raises `UserError` where it cannot be read."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give the image that the video starts from") from None
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is not a readable image ({' '.join(str(error).split())}); give a PNG or JPEG") from None
    return FrameFitter(clip.height, clip.width, clip.fit).rgb(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"))
