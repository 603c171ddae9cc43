"""Simulated teleoperation: robots, the log formats they are written in, and known faults."""
