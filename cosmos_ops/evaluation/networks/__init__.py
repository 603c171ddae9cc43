"""Published networks that some metrics are defined by. Their weights are not part of the project: a profile names a local path or a Hub id."""
