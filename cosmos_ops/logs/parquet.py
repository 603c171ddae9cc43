"""Parquet files as input from outside: a few bytes of one can declare more than any machine holds."""

import pyarrow as pa
import pyarrow.parquet as pq

MOST_TABLE_BYTES = 512 << 20
"""What a table may unpack to: 60 million numbers, days of telemetry."""
READ_ERRORS = (pa.ArrowException, OSError, ValueError, KeyError)
"""What reading a damaged or odd file raises."""
_NUMBER_BYTES = 8


def check_size(file: pq.ParquetFile, columns: list[str], numbers: bool = True) -> None:
    """Refuse what would not fit before it is read: by the number of values, because repeated ones are stored once, and by their size.

    With `numbers` only columns of numbers, or of lists of them, are let through. Raises `ValueError` in one line.
    """
    for name in columns if numbers else []:
        kind = file.schema_arrow.field(name).type
        while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            kind = kind.value_type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
            raise ValueError(f"column {name} holds {str(kind)[:80]}, numbers are needed")
    declared = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group)
        for place in range(rows.num_columns):
            chunk = rows.column(place)
            if chunk.path_in_schema.split(".list.")[0] in columns:
                declared += max(chunk.num_values * _NUMBER_BYTES, chunk.total_uncompressed_size)
    declared = max(declared, file.metadata.num_rows * len(columns) * _NUMBER_BYTES)
    if declared > MOST_TABLE_BYTES:
        raise ValueError(f"it declares {file.metadata.num_rows} rows of {declared >> 20} MiB, at most {MOST_TABLE_BYTES >> 20} MiB are read")
