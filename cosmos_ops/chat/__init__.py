"""Asking a vision model behind any OpenAI-compatible endpoint: for captions, and as a judge of videos."""
