"""Pixels: decoding by time, choosing frames, fitting them to a clip, encoding, film strips."""
