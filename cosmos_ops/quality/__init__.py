"""Which cameras of which episodes are good enough to learn from."""
