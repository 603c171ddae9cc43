"""Sentences from proprioception: what moved, how far and when, and nothing that the log does not tell."""
