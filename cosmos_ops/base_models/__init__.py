"""Frozen world models behind one interface. A family is found by its module in this folder; nothing heavy is imported until it is."""

from cosmos_ops.base_models.base import Identity, WorldModel, identify_world_model, load_world_model, register_world_model

__all__ = ["Identity", "WorldModel", "identify_world_model", "load_world_model", "register_world_model"]
