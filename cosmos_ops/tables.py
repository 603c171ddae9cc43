"""Parquet tables with stable bytes, and a hash of a table's content that does not depend on how it is stored."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ops.hashing import canonical_json
from cosmos_ops.lake import atomic_write


def write_table(path: Path, rows: list[dict], schema: pa.Schema) -> pa.Table:
    """Write rows as Parquet, whole or not at all, and return the table. A row must have exactly the schema's columns."""
    for row in rows:
        assert row.keys() == set(schema.names), sorted(row.keys() ^ set(schema.names))
    table = pa.Table.from_pylist(rows, schema=schema)
    with atomic_write(path) as part:
        pq.write_table(table, part, compression="zstd")
    return table


def content_hash(rows: list[dict]) -> str:
    """16 hex digits over the rows in their order: equal content gives an equal hash whatever Parquet writer stored it."""
    sha = hashlib.sha256()
    for row in rows:
        sha.update(canonical_json(row).encode())
        sha.update(b"\n")
    return sha.hexdigest()[:16]
