"""Simulated teleoperation: the tabletop generator behind the demo's drops."""
