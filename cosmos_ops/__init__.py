"""The library: robot logs in, adapters and scores out. No Dagster, no environment variables: arguments only."""

__version__ = "0.1.0"
