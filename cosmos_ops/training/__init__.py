"""Adapter training: latents and a resolved recipe in, PEFT weights out. `python -m cosmos_ops.training --config X.json`."""
