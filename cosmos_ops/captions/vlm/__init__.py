"""Captions from a vision model behind any OpenAI-compatible endpoint."""

VERSION = "1"
"""Raised whenever the same question may be put otherwise."""
