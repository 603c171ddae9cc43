"""Robots with real geometry, simulated by MuJoCo: their models, scenes, operator and recordings."""
