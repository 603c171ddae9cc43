"""The model card beside an adapter: `README.md` with what a hub reads at its top and what a person wants to know below."""

from pathlib import Path
from typing import Any

from cosmos_ops.lake import write_text
from cosmos_ops.training.config import TrainingConfig

CARD = "README.md"
_HUB_LICENCES = {"Apache-2.0": "apache-2.0", "MIT": "mit"}


def write_card(folder: Path, meta: dict[str, Any], config: TrainingConfig) -> None:
    """Write the card from what the adapter's manifest holds."""
    write_text(folder / CARD, model_card(meta, config))


def model_card(meta: dict[str, Any], config: TrainingConfig) -> str:
    """Markdown with a YAML head. Only what was measured or set is said."""
    base, recipe, losses = meta["base"], meta["recipe"], meta["validation_loss"]
    licence = _HUB_LICENCES.get(base["licence"], "other")
    head = ["library_name: peft", "pipeline_tag: image-to-video", f"license: {licence}"]
    head += [f"license_name: {base['licence']}"] if licence == "other" else []
    head += [f"base_model: {base['source']}"] if not base["source"].startswith("builtin:") else []
    head += [f"tags: [{recipe['method']}, world-model, robotics]"]
    validation = (
        "no validation clips" if losses["start"] is None else f"{losses['start']:.4f} before training, {losses['best']:.4f} kept (update {meta['kept_step']})"
    )
    rows = {
        "base model": f"{base['source']}, revision `{base['revision']}`, licence {base['licence']}",
        "method": f"{recipe['method'].upper()}, rank {recipe['rank']}, alpha {recipe['alpha']}{', rsLoRA' if recipe['rslora'] else ''}",
        "trained on": f"dataset version `{meta['dataset_version']}`: {meta['train_clips']} clips, {meta['samples']} samples, {meta['steps']} updates",
        "clips": f"{config.clip.frames} frames, {config.clip.height} x {config.clip.width} pixels, at most {config.clip.max_fps:g} a second",
        "validation loss": validation,
        "trainable parameters": f"{meta['parameters']:,}",
        "computed on": f"{meta['device']}, {meta['precision']}, {meta['processes']} process(es), {meta['seconds'] / 3600:.2f} h",
        "energy, estimated": f"{meta['cost']['energy_kwh']:.3g} kWh ({meta['cost']['watts']:g} W), {meta['cost']['gpu_seconds'] / 3600:.2f} GPU hours",
        "software": ", ".join(f"{name} {version}" for name, version in meta["libraries"].items()),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""---
{chr(10).join(head)}
---

# {recipe["name"]} on {meta["dataset_version"]}

An adapter of the denoiser of a video world model. Given the first one or two latent frames and a sentence, the adapted model makes the rest of the clip.

| | |
|---|---|
{table}

Every setting is in `recipe.json`, every update in `log.jsonl`, hashes of all files in `manifest.json`.

## Use

```python
from peft import PeftModel
pipeline.transformer = PeftModel.from_pretrained(pipeline.transformer, "this folder")
```

or, in diffusers alone, `pipeline.transformer.load_lora_adapter("this folder", weight_name="adapter_model.safetensors", prefix="base_model.model")`.
`cosmos-ops export` writes the one file that `pipeline.load_lora_weights` takes; `cosmos-ops merge` writes base and adapter as plain weights.

## Limits

The adapter belongs to this revision of the base model and to clips like those above. The validation loss says how well velocities are predicted on
held-out clips of the same robot; it does not say that generated videos are right. Videos are not a safe basis for moving a real robot.
"""
