"""What must hold of each table of the data half: the expectations, how severe a breach is, and what to do about it.

An error blocks what comes after: the rows would break a later step, leak between splits or train on nothing. A warning is shown:
the rows are usable and worth a look. Plain values only, so that reading this costs nothing.
"""

from dataclasses import dataclass, field
from typing import Any

from cosmos_ops.chat.refusal import PATTERN as REFUSAL

ERROR, WARNING = "error", "warning"

_AGAIN = "materialize the stage again; if it comes back, the log reader is wrong"
_TASK = (
    "add the task text to the log, or as `task` to cosmos-drop.yaml in a copy of the drop, or set captions.template in the profile to a text that needs none"
)
_NO_CAPTION = (
    f"where the template names {{task}}: {_TASK}; where it names {{telemetry}}: the log has no proprioception in the clip, use captions.captioner task or vlm"
)
_SHORTER = "shorten captions.template or the task text, or raise captions.max_tokens where the text encoder has room"
_REFUSED = "change captions.vlm.prompt or captions.vlm.model in the profile, or the task text where that is what reads so"
_ALIKE = "the clips have different tasks: name {task}, {telemetry} or {vlm} in captions.template, and look at what the captioner answers"


@dataclass(frozen=True)
class Expect:
    """One Great Expectations expectation on a column of the (widened) table."""

    kind: str
    """Snake-case name of the expectation."""
    what: str
    """What is wrong when it fails: one phrase."""
    remedy: str
    settings: dict[str, Any] = field(default_factory=dict)
    severity: str = ERROR
    whole_table: bool = False
    """About the table as a whole: no single row is at fault."""


def _unique(column: str, what: str, remedy: str = _AGAIN, severity: str = ERROR) -> Expect:
    return Expect("expect_column_values_to_be_unique", what, remedy, {"column": column}, severity)


def _present(column: str) -> Expect:
    return Expect("expect_column_values_to_not_be_null", f"{column} is missing", _AGAIN, {"column": column})


def _between(column: str, low: float | None, high: float | None, what: str, remedy: str = _AGAIN, severity: str = ERROR, **strict: bool) -> Expect:
    return Expect("expect_column_values_to_be_between", what, remedy, {"column": column, "min_value": low, "max_value": high, **strict}, severity)


def _true(column: str, what: str, remedy: str, severity: str = ERROR) -> Expect:
    return Expect("expect_column_values_to_be_in_set", what, remedy, {"column": column, "value_set": [True]}, severity)


def _somewhere(column: str, what: str, remedy: str, severity: str = ERROR) -> Expect:
    """`column` says of the whole table whether it has such a row."""
    return Expect("expect_column_values_to_be_in_set", what, remedy, {"column": column, "value_set": [True]}, severity, whole_table=True)


def _matches(column: str, regex: str, what: str) -> Expect:
    return Expect("expect_column_values_to_match_regex", what, _AGAIN, {"column": column, "regex": regex})


def _some_rows(what: str, remedy: str) -> Expect:
    return Expect("expect_table_row_count_to_be_between", what, remedy, {"min_value": 1})


def _one_of(column: str, values: list[str]) -> Expect:
    return Expect("expect_column_values_to_be_in_set", f"{column} is none of {', '.join(values)}", _AGAIN, {"column": column, "value_set": values})


def _above_zero(column: str, what: str, remedy: str = _AGAIN) -> Expect:
    return _between(column, 0, None, what, remedy, strict_min=True)


def _rate(column: str = "fps") -> Expect:
    return _between(column, 0, 240, "the frame rate is not within (0, 240] a second", "correct fps in the log, or quarantine the episode", strict_min=True)


_SPLIT = [
    _one_of("split", ["train", "validation", "test"]),
    _true("one_split", "an episode is in several splits: training would see held-out data", "materialize `clips` again"),
]
_HASH = "^[0-9a-f]{64}$"

SUITES: dict[str, tuple[str, list[Expect]]] = {
    # A damaged episode stays in the index with its fatal problem, so values are only asked of `usable` ones.
    "episodes": (
        "{episode_id}",
        [
            _some_rows("the drop holds no episode", "run `cosmos-ops inspect` on the drop to see what was found"),
            _present("episode_id"),
            _unique("index", "an episode index appears twice", "give each episode its own index in the log"),
            _above_zero("usable_frames", "a usable episode has no frames"),
            _rate("usable_fps"),
            _above_zero("usable_duration_s", "a usable episode lasts no time"),
            _somewhere("any_usable", "every episode has a fatal problem", "run `cosmos-ops inspect` on the drop: it lists each episode's problems"),
            _unique("usable_episode_id", "the same recording is in the drop twice", "nothing to do: the copy is in quarantine", WARNING),
            _true("usable_has_camera", "an episode has no camera", "deliver its video files", WARNING),
            _true(
                "usable_has_task",
                "an episode has no task text",
                _TASK,
                WARNING,
            ),
            _true("usable_has_action", "an episode has no actions", "fine for video adaptation; the action metrics will be empty", WARNING),
            _between("usable_clock_drift_s", None, 1.0, "telemetry time and frame count disagree by over 1 s", "check the recorder's clock", WARNING),
        ],
    ),
    "cameras": (
        "{episode_id}/{camera}",
        [
            _some_rows("no camera was looked at", "run `cosmos-ops inspect` on the drop to see what was found"),
            _present("episode_id"),
            _present("camera"),
            _present("accepted"),
            _unique("subject", "a camera of an episode appears twice"),
            _somewhere("any_accepted", "every camera is in quarantine", "read the reasons in quarantine.parquet; the thresholds are `quality` in the profile"),
            _true("reasoned", "a camera is rejected without a reason or accepted with one", _AGAIN),
            _above_zero("accepted_frames", "an accepted camera has no decoded frame"),
            _above_zero("accepted_duration_s", "an accepted camera lasts no time"),
            _between("mean_luma", 0, 255, "mean luma is not within 0 to 255"),
            _between("black_fraction", 0, 1, "the fraction of black frames is not within 0 to 1"),
            _between("frozen_fraction", 0, 1, "the fraction of frozen frames is not within 0 to 1"),
            _between("constant_fraction", 0, 1, "the fraction of frames without anything to see is not within 0 to 1"),
            _between("exposure_fraction", 0, 1, "the fraction of over- or underexposed frames is not within 0 to 1"),
            _between("blur_fraction", 0, 1, "the fraction of blurred frames is not within 0 to 1"),
            _between("clock_drift_s", -1.0, 1.0, "a clock runs away by over 1 s", "set the recorder's clock; what was corrected is in the table", WARNING),
            _true("half_accepted", "over half of the cameras are in quarantine", "read the reasons in quarantine.parquet before training on the rest", WARNING),
        ],
    ),
    "clips": (
        "{clip_id}",
        [
            _some_rows("no clip is planned", "record longer episodes, or lower clip.frames in the profile"),
            _present("clip_id"),
            _unique("clip_id", "a clip is planned twice"),
            _present("episode_id"),
            _present("camera"),
            _rate(),
            *_SPLIT,
            _true("times_increase", "frame times do not increase", "the log's clock goes backwards: correct it, or quarantine the episode"),
            _between("first_time_s", -1e-6, None, "a clip starts before its episode"),
            _true("frames_equal", "a clip has another number of frames than the rest", "materialize `clips` again"),
            _true("apart", "windows of one camera overlap", "materialize `clips` again"),
            _above_zero("source_width", "the source width is not above 0"),
            _above_zero("source_height", "the source height is not above 0"),
            _somewhere(
                "any_test", "no clip is held out for evaluation", "deliver 5 or more usable episodes in a drop; until then it serves training only", WARNING
            ),
        ],
    ),
    "captions": (
        "{clip_id}",
        [
            _some_rows("there is no caption", "materialize `clips` and `captions` again"),
            _present("clip_id"),
            _unique("clip_id", "a clip has two captions", "materialize `captions` again"),
            _present("caption"),
            _between(
                "caption_length",
                1,
                None,
                "the caption is empty",
                _NO_CAPTION,
            ),
            _between("caption_length", None, 4000, "the caption has over 4000 characters: the text encoder would cut it", "shorten captions.template", WARNING),
            _true("fits", "the caption has more tokens than captions.max_tokens and the text encoder allow", _SHORTER),
            Expect(
                "expect_column_values_to_not_match_regex",
                "the caption is a refusal, or talks about the model that wrote it",
                _REFUSED,
                {"column": "caption", "regex": REFUSAL},
            ),
            _somewhere("several", "every clip has the same caption", _ALIKE),
            _true("from_task", "the log has no task: the caption is what its telemetry tells", _TASK, WARNING),
            _somewhere("own", "a vision model or telemetry gave all clips the same caption", "look whether the caption fits the clips", WARNING),
            _present("captioner"),
            _present("captioner_version"),
            _between("tokens", 1, None, "a caption has no token"),
        ],
    ),
    "shards": (
        "{clip_id}",
        [
            _some_rows("no clip was written", "materialize `clips`, `captions` and `shards` again"),
            _present("clip_id"),
            _unique("clip_id", "a clip was written twice", "materialize `shards` again"),
            _unique("key", "two clips share a key in the tars", "materialize `shards` again"),
            *_SPLIT,
            _rate(),
            _above_zero("frames", "a clip has no frames", "materialize `shards` again"),
            _above_zero("size_bytes", "a clip has no bytes", "materialize `shards` again"),
            _between("offset_bytes", 0, None, "a clip starts before its shard"),
            _true("apart", "clips overlap inside a shard", "remove the drop's shards folder and materialize `shards` again"),
            _between("caption_length", 1, None, "a clip has no caption", "materialize `captions` again"),
            _matches("shard_sha256", _HASH, "the shard's hash is no SHA-256"),
            _matches("video_sha256", _HASH, "the video's hash is no SHA-256"),
            _unique("video_sha256", "two clips have the same pixels", "nothing to do: `dataset` keeps the first; a frozen camera looks like this", WARNING),
        ],
    ),
}
"""Table -> (how a row is named, its expectations)."""
