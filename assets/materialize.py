"""From a stage's manifest to what the Dagster UI shows, and from an expected failure to one clear line."""

import base64
import contextlib
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from cosmos_ops.errors import UserError, WorkFailed, storage_failure
from cosmos_ops.lake import Manifest
from cosmos_ops.progress import Progress

_PREVIEW_ROWS = 8
_PREVIEW_CELL = 60
# Metadata lives in Dagster's database, so pictures in it are kept small.
_PICTURE_BYTES = 400_000
_PROGRESS_SECONDS = 10.0


@contextlib.contextmanager
def expected_failures() -> Iterator[None]:
    """Turn a `UserError`, a `WorkFailed` or a disk that cannot be written into a `dagster.Failure` that is not retried."""
    try:
        yield
    except Exception as error:
        told = error if isinstance(error, (UserError, WorkFailed)) else storage_failure(error)
        if told is None:
            raise
        raise dg.Failure(description=str(told), metadata={"kind": type(told).__name__}, allow_retries=False) from None


def result(
    manifest: Manifest,
    metadata: dict[str, Any] | None = None,
    table: str | None = None,
    picture: str | None = None,
    check_results: Sequence[dg.AssetCheckResult] = (),
) -> dg.MaterializeResult:
    """A `MaterializeResult` with the manifest's data version, row count, metadata, table preview and picture."""
    # The order is that of the page: what people look for first.
    shown: dict[str, Any] = {"dagster/row_count": manifest.rows, **(metadata or {})}
    if picture is not None and manifest.file(picture).is_file():
        shown["picture"] = picture_metadata(manifest.file(picture))
    if table is not None:
        shown |= table_metadata(manifest.file(table))
    shown |= {name: _plain(value) for name, value in manifest.meta.items() if name not in shown}
    shown |= {"path": dg.MetadataValue.path(str(manifest.path)), "unchanged": manifest.unchanged, "key": manifest.key}
    return dg.MaterializeResult(data_version=dg.DataVersion(manifest.data_version), metadata=shown, check_results=list(check_results))


def table_metadata(path: Path) -> dict[str, Any]:
    """Column schema and a preview of a Parquet table."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    columns = [dg.TableColumn(field.name, str(field.type)) for field in table.schema]
    rows = table.slice(0, _PREVIEW_ROWS).to_pylist()
    head = "| " + " | ".join(table.schema.names) + " |\n|" + " --- |" * len(table.schema.names)
    body = "\n".join("| " + " | ".join(_cell(value) for value in row.values()) + " |" for row in rows)
    return {"dagster/column_schema": dg.TableSchema(columns=columns), "preview": dg.MetadataValue.md(f"{head}\n{body}")}


def picture_metadata(path: Path) -> dg.MetadataValue:
    """A PNG that the UI shows in place; a large one as JPEG, one that is too large even so by its path."""
    kind, content = "png", path.read_bytes()
    if len(content) > _PICTURE_BYTES:
        import cv2

        kind, content = "jpeg", cv2.imencode(".jpg", cv2.imread(str(path)), [cv2.IMWRITE_JPEG_QUALITY, 75])[1].tobytes()
    if len(content) > _PICTURE_BYTES:
        return dg.MetadataValue.path(str(path))
    return dg.MetadataValue.md(f"![{path.name}](data:image/{kind};base64,{base64.b64encode(content).decode()})")


def progress_log(context: dg.AssetExecutionContext, what: str) -> Progress:
    """A progress callback that writes to the run's log, at most every few seconds and at the end; it stops a step whose run died."""
    last = time.monotonic()
    began: tuple[float, int] | None = None

    def report(done: int, total: int, note: str) -> None:
        nonlocal last, began
        stop_if_orphaned()
        now = time.monotonic()
        if began is None or done < began[1]:
            began = now, done  # what an earlier run had done took this one no time; a new count is new work
        if done < total and now - last < _PROGRESS_SECONDS:
            return
        last = now
        here = done - began[1]
        left = f" ({(now - began[0]) / here * (total - done):.0f} s left)" if here and done < total else ""
        context.log.info(f"{what}: {done}/{total} {note}{left}")

    return report


def stop_if_orphaned() -> None:
    """End this step when the process that runs it was killed: nobody would record the result, and the next run waits for its locks."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise SystemExit("the run's process died; this step stops, the next run continues its work")


def _plain(value: Any) -> Any:
    if value is None:
        return "none"
    if isinstance(value, (str, int, float, bool)):
        return value
    return dg.MetadataValue.json(value)


def _cell(value: Any) -> str:
    text = str(value).replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= _PREVIEW_CELL else text[: _PREVIEW_CELL - 1] + "…"
