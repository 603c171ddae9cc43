"""Captions from a vision model behind any OpenAI-compatible endpoint."""
