"""The one partition of the project: a drop."""

import dagster as dg

# Never an episode or a clip: Dagster suffers past about 100,000 keys, and provenance collapses past 100 upstream partitions.
drops = dg.DynamicPartitionsDefinition(name="drops")
