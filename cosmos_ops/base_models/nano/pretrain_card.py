"""The model card of trained nano weights: what they were trained on, for how long, how well, and what the files hash to."""

import json
from pathlib import Path
from typing import Any

from cosmos_ops.hashing import file_sha256
from cosmos_ops.lake import write_text

CARD = "MODEL_CARD.md"


def write_card(folder: Path, facts: dict[str, Any]) -> None:
    """Write `MODEL_CARD.md` into a pipeline folder from what the trainings returned."""
    vae, denoiser = facts["vae"], facts["denoiser"]
    data = "\n".join(f"| {source} | VAE and denoiser | {n['recordings']} | {n['frames']} |" for source, n in facts["data"].items())
    data += "".join(f"\n| {source} | VAE only | {n['recordings']} | {n['frames']} |" for source, n in facts["vae_data"].items())
    quality = "\n".join(f"| {source} | {value:.2f} |" for source, value in vae["held_out_psnr_db"].items())
    files = "\n".join(f"| {path.relative_to(folder)} | `{file_sha256(path)}` |" for path in sorted(folder.rglob("*.safetensors")))
    write_text(
        folder / CARD,
        f"""# nano

The classes of Cosmos Predict 2.5 (`AutoencoderKLWan`, `CosmosTransformer3DModel`, Qwen2.5-VL text encoder) at a size that two processor
cores can train and run. It shows that a pipeline works and that adaptation helps. It is not a useful world model: low resolution
(80 x 128, 17 frames), blurred, and the text encoder is random (different words are told apart, nothing is understood).

## Data

| source | trained | recordings | frames |
|---|---|---|---|
{data}
| drifting boxes, drawn in code | VAE and denoiser | {facts["synthetic_clips"]} | {17 * facts["synthetic_clips"]} |

Frames at 80 x 128 (centre crop), at most 8 a second. The last tenth of each source's recordings (where it has five) was held out.
Evaluating nano on the sources above is evaluating on training data, but for the held-out recordings.

## Training

Seed {facts["seed"]}, on {facts["device"]}; minutes are processor time on a CPU, clock time on an accelerator.

| | parameters | minutes | steps | training loss | held out |
|---|---|---|---|---|---|
| VAE | {vae["parameters"]:,} | {vae["minutes"]:g} | {vae["steps"]} | L1 {vae["l1"]} (pixels in -1..1) | PSNR below |
| denoiser | {denoiser["parameters"]:,} | {denoiser["minutes"]:g} | {denoiser["steps"]} (batch {denoiser["batch"]}) | velocity MSE {denoiser["loss"]} | \
{denoiser["validation_loss"]} ({denoiser["validation_loss_before"]} before) |

VAE: root of each crop's mean squared error, and KL divergence, on crops of 5, 9 and 17 frames{_attempts(vae)}.

Denoiser: rectified flow, shift 5 and 1 in turn, one or two given latent frames, text dropped with probability 0.2, on {denoiser["windows"]} windows
{denoiser["stride"]} frames apart; the running mean of its weights is kept, as bfloat16.

Made by `{facts["command"]}`{_from(facts["simulated"])}

| held-out recordings of | VAE reconstruction PSNR, dB |
|---|---|
{quality}

## Files

| file | SHA-256 |
|---|---|
{files}

<details><summary>Numbers</summary>

```json
{json.dumps(facts, indent=1)}
```

</details>
""",
    )


def _from(simulated: dict[str, str]) -> str:
    """How to make the logs that a simulator made."""
    return " on simulated logs made by\n\n" + "\n".join(f"    {command}" for command in simulated.values()) if simulated else "."


def _attempts(vae: dict[str, Any]) -> str:
    """Which data joined when, where the training was stopped and went on."""
    if len(vae["attempts"]) < 2:
        return ""
    parts = (f"from step {attempt['from_step']} on {', '.join(attempt['recordings'])}" for attempt in vae["attempts"])
    return f"; it was stopped and went on: {'; '.join(parts)}"
