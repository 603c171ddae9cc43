"""Run a table's Great Expectations suite and say in plain values which rows fail, why, and what to do."""

import logging
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assets.checks.suites import SUITES, Expect

if TYPE_CHECKING:
    import pandas as pd

_MAX_NAMED_ROWS = 100
_ROW = "row name"
"""Column in which each row is named for people."""


@dataclass(frozen=True)
class CheckOutcome:
    """One expectation on one table."""

    expectation: str
    """Name of the expectation and its column."""
    success: bool
    severity: str
    """`error` blocks what comes after, `warning` is shown."""
    failing_rows: list[str]
    """Names of failing rows, at most 100; empty when the expectation is about the whole table."""
    message: str
    """Why it failed and how many rows; empty on success."""
    remedy: str


@dataclass(frozen=True, eq=False)
class Validation:
    """A suite's run over a table."""

    outcomes: list[CheckOutcome]
    """In suite order."""
    rows: int
    suite: Any
    """Great Expectations' suite."""
    result: Any
    """Great Expectations' result of the suite, of which its pages are made."""


def validate_table(table: str, df: "pd.DataFrame") -> Validation:
    """Run the suite of `table` (episodes, cameras, clips, captions or shards).

    `df` is the table as its stage wrote it and stays as it is. Of an empty table only the number of rows is checked.
    """
    naming, expects = SUITES[table]
    expects = expects if len(df) else expects[:1]
    wide = _WIDEN[table](df.reset_index(drop=True).copy()) if len(df) else df
    suite, validated = _run(table, expects, wide.assign(**{_ROW: _names(df, naming)}))
    by_place = {result.expectation_config.meta["place"]: result for result in validated.results}
    outcomes = [_outcome(expect, by_place[place], len(df)) for place, expect in enumerate(expects)]
    return Validation(outcomes, len(df), suite, validated)


def _names(df: "pd.DataFrame", naming: str) -> list[str]:
    """What each row is called; a column that is not there leaves its place empty."""
    named = [name for _, name, _, _ in string.Formatter().parse(naming) if name]
    columns = [df[name].astype(str) if name in df else [""] * len(df) for name in named]
    return [naming.format(**dict(zip(named, row, strict=True))) for row in zip(*columns, strict=True)]


def _run(table: str, expects: list[Expect], df: "pd.DataFrame") -> tuple[Any, Any]:
    """Great Expectations' suite and its result."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults, ProgressBarsConfig
    from great_expectations.expectations.registry import get_expectation_impl

    # Without a handler of its own the library's debug and info lines end up in the run's log.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    config = DataContextConfig(store_backend_defaults=InMemoryStoreBackendDefaults(), analytics_enabled=False, progress_bars=ProgressBarsConfig(globally=False))
    context = gx.get_context(mode="ephemeral", project_config=config)
    frame = context.data_sources.add_pandas("lake").add_dataframe_asset(table)
    batch = frame.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": df})
    suite = gx.ExpectationSuite(name=table)
    for place, expect in enumerate(expects):
        # Its own severities are ours under other names; results come back in another order, so each carries its place.
        severity = "critical" if expect.severity == "error" else "warning"
        told = f"{expect.what}: {expect.remedy}"
        suite.add_expectation(get_expectation_impl(expect.kind)(**expect.settings, severity=severity, notes=told, meta={"place": place}))
    return suite, batch.validate(suite, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": [_ROW]})


def _outcome(expect: Expect, result: Any, count: int) -> CheckOutcome:
    column = expect.settings.get("column")
    name = f"{expect.kind}({column})" if column else expect.kind
    if result.success:
        return CheckOutcome(name, True, expect.severity, [], "", expect.remedy)
    if not result.result:
        why = f"{name} could not be evaluated: {_why(result)}"
        return CheckOutcome(name, False, expect.severity, [], why, "materialize the stage again: the table is of another version")
    failing = [] if expect.whole_table else [found[_ROW] for found in result.result.get("unexpected_index_list") or []]
    told = f" ({len(failing)} of {count} rows, first {failing[0]})" if failing else ""
    return CheckOutcome(name, False, expect.severity, failing[:_MAX_NAMED_ROWS], f"{expect.what}{told}", expect.remedy)


def _why(result: Any) -> str:
    causes = result.exception_info.values() if "raised_exception" not in result.exception_info else [result.exception_info]
    messages = [str(cause["exception_message"]) for cause in causes if cause.get("raised_exception")]
    return " ".join(messages[0].split()) if messages else "no result"


def _widen_episodes(df: "pd.DataFrame") -> "pd.DataFrame":
    """Add columns of usable episodes (null for the others: an expectation passes over null)."""
    usable = df["problems"].map(lambda problems: not any(p["fatal"] and p["camera"] is None and p.get("start_s") is None for p in problems))
    drift_s = (df["duration_s"] - df["frames"] / df["fps"].where(df["fps"] > 0)).abs()
    columns = {
        "episode_id": df["episode_id"],
        "frames": df["frames"],
        "fps": df["fps"],
        "duration_s": df["duration_s"],
        "has_camera": df["cameras"].map(len) > 0,
        "has_task": df["task"].map(lambda task: isinstance(task, str) and bool(task.strip())),
        "has_action": df["action_dim"] > 0,
        "clock_drift_s": drift_s,
    }
    for name, values in columns.items():
        df[f"usable_{name}"] = values.astype(object).where(usable, None)
    df["any_usable"] = bool(usable.any())
    return df


def _widen_cameras(df: "pd.DataFrame") -> "pd.DataFrame":
    accepted = df["accepted"].fillna(False).astype(bool)
    df["subject"] = df["episode_id"].astype(str) + " " + df["index"].astype(str) + " " + df["camera"].astype(str)
    df["reasoned"] = accepted == (df["reasons"].map(len) == 0)
    df["accepted_frames"] = df["decoded_frames"].astype(object).where(accepted, None)
    df["accepted_duration_s"] = df["video_duration_s"].astype(object).where(accepted, None)
    df["any_accepted"] = bool(accepted.any())
    # Where over half are rejected, the rejected rows are the ones to name.
    df["half_accepted"] = accepted | bool(accepted.mean() >= 0.5)
    return df


def _widen_clips(df: "pd.DataFrame") -> "pd.DataFrame":
    times = df["frame_times_s"]
    df["first_time_s"] = times.map(lambda values: float(values[0]) if len(values) else None)
    df["times_increase"] = times.map(lambda values: len(values) > 0 and bool((values[1:] > values[:-1]).all()))
    lengths = times.map(len)
    df["frames_equal"] = lengths == lengths.mode().iloc[0]
    df["last_time_s"] = times.map(lambda values: float(values[-1]) if len(values) else None)
    ordered = df.sort_values("first_time_s", kind="stable")
    before = ordered.groupby(["episode_id", "index", "camera"])["last_time_s"].shift()
    df["apart"] = ~(ordered["first_time_s"] <= before).reindex(df.index)
    df["any_test"] = bool((df["split"] == "test").any())
    return _widen_split(df)


def _widen_captions(df: "pd.DataFrame") -> "pd.DataFrame":
    from cosmos_ops.captions.write import FALLBACK

    df["caption_length"] = df["caption"].str.strip().str.len()
    df["fits"] = ~(df["tokens"] > df["max_tokens"])
    tasks, texts = df["task"].nunique(dropna=False), df["caption"].nunique()
    df["several"] = bool(texts > 1 or tasks == 1)
    # One text for every clip of a drop with one task: right where the task is the caption, odd where each clip was looked at.
    df["from_task"] = df["captioner"] != FALLBACK if "captioner" in df else True
    told = "captioner" not in df or (df["captioner"] == "task").all()
    df["own"] = bool(texts > 1 or len(df) < 3 or told)
    return df


def _widen_shards(df: "pd.DataFrame") -> "pd.DataFrame":
    ordered = df.sort_values("offset_bytes", kind="stable")
    end = ordered["offset_bytes"] + ordered["size_bytes"]
    df["apart"] = ~(ordered["offset_bytes"] < end.groupby(ordered["shard"]).shift()).reindex(df.index)
    df["caption_length"] = df["caption"].str.strip().str.len()
    return _widen_split(df)


def _widen_split(df: "pd.DataFrame") -> "pd.DataFrame":
    df["one_split"] = df.groupby("episode_id")["split"].transform("nunique") == 1
    return df


_WIDEN: dict[str, Callable[["pd.DataFrame"], "pd.DataFrame"]] = {
    "episodes": _widen_episodes,
    "cameras": _widen_cameras,
    "clips": _widen_clips,
    "captions": _widen_captions,
    "shards": _widen_shards,
}
