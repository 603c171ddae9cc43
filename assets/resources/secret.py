"""A value that is used and never shown."""

import dagster as dg


class SecretResource(dg.ConfigurableResource):
    """A secret from an environment variable. Dagster keeps the variable's name; the value exists in the step's process alone."""

    value: str = ""
    """Empty where there is none."""
