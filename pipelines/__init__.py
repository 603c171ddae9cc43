"""Composition: definitions, jobs, schedules, sensors, environments and the command line."""
