"""The vlm captioner: key frames and a prompt to a vision model, many clips at a time, every answer kept as it comes."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from cosmos_ops.captions.source import with_episodes
from cosmos_ops.captions.vlm import VERSION
from cosmos_ops.captions.vlm.answers import Answers, answer_key
from cosmos_ops.captions.vlm.pictures import key_frames, key_times_s
from cosmos_ops.captions.vlm.prompt import filled, read_prompt
from cosmos_ops.chat.asking import Asker, Spent, Stopped
from cosmos_ops.chat.endpoint import NoAnswer
from cosmos_ops.chat.request import request
from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.lake import Lake
from cosmos_ops.logs import Episode, LogReader, UnreadableVideo
from cosmos_ops.logs.drops import Drop
from cosmos_ops.profiles import ClipGeometry, VlmSettings
from cosmos_ops.progress import Progress, silent

_AHEAD = 2
"""Clips a worker that may be waiting for their turn: pictures are made when a worker is free."""


@dataclass(frozen=True)
class _Question:
    episode: Episode
    clip: dict
    prompt: str
    key: str


def vlm_captions(
    lake: Lake,
    reader: LogReader,
    source: Drop,
    clips: list[dict],
    geometry: ClipGeometry,
    settings: VlmSettings,
    key: str | None,
    progress: Progress = silent,
) -> tuple[list[str], dict[str, Any]]:
    """(one caption a clip, what they cost). `clips` are rows of `clips.parquet` with `robot`; captions come in their order.

    Answers are kept in the lake as they come: a run that stopped for whatever reason goes on where it stopped. Raises `UserError` where the settings
    name a key that is not given, `WorkFailed` in one line when the endpoint gives no answer, the budget is spent, or the model refuses clips.
    """
    if settings.key_variable and not key:
        raise UserError(f"captions.vlm.key_variable names {settings.key_variable}, which is not set; set it, or leave the setting out")
    answers, prompt, asked = Answers(lake), read_prompt(settings.prompt), {**settings.produced_by(), "version": VERSION}
    asker = Asker(settings, key, "captions.vlm", " and run again")
    captions: dict[str, str] = {}
    keys, waiting, tokens = [], [], [0, 0]
    for clip in clips:
        words = filled(prompt, clip, len(key_times_s(clip["frame_times_s"], settings.frames)))
        stored_under = answer_key(clip["clip_id"], _video_sha256(source, clip), words, asked)
        keys.append(stored_under)
        found = answers.read(stored_under)
        if found is None:
            waiting.append({**clip, "_words": words, "_key": stored_under})
        else:
            captions[clip["clip_id"]] = found.text
            tokens = [tokens[0] + found.prompt_tokens, tokens[1] + found.answer_tokens]
    kept, refused = len(captions), []
    progress(kept, len(clips), "captions of the vision model")
    try:
        for question, text in _asked(reader, source, waiting, geometry, settings, asker, answers):
            if text is None:
                refused.append(question.clip["clip_id"])
            else:
                captions[question.clip["clip_id"]] = text
            progress(len(captions), len(clips), f"captions of the vision model, {asker.spent.tokens} tokens")
    except WorkFailed as error:
        there = sum(answers.read(stored_under) is not None for stored_under in keys)
        raise WorkFailed(f"{error} ({there} of {len(clips)} captions of drop {source.name} are there and kept)") from None
    if refused:
        raise WorkFailed(
            f"{settings.model} refuses to describe {len(refused)} of {len(clips)} clips of drop {source.name}, first {refused[0]}; the others are kept; "
            "run again, or change captions.vlm.prompt or captions.vlm.model"
        )
    return [captions[clip["clip_id"]] for clip in clips], _cost(asker.spent, kept, tokens, settings)


def _asked(
    reader: LogReader, source: Drop, clips: list[dict], geometry: ClipGeometry, settings: VlmSettings, asker: Asker, answers: Answers
) -> Iterator[tuple[_Question, str | None]]:
    """Each question with its caption, None where the model refuses; in the order of `clips`. Answers are stored by the thread that got them."""
    pending: deque[tuple[_Question, Future]] = deque()
    failures: list[WorkFailed] = []
    with ThreadPoolExecutor(settings.workers, thread_name_prefix="vlm") as pool:
        try:
            for episode, rows in with_episodes(reader, source, clips) if clips else ():
                for clip in rows:
                    question = _Question(episode, clip, clip["_words"], clip["_key"])
                    pending.append((question, pool.submit(_caption, reader, question, geometry, settings, asker, answers, failures)))
                    while len(pending) > settings.workers * _AHEAD:
                        yield _finished(pending, failures)
            while pending:
                yield _finished(pending, failures)
        finally:
            asker.stop()
            pool.shutdown(wait=True, cancel_futures=True)


def _finished(pending: deque, failures: list[WorkFailed]) -> tuple[_Question, str | None]:
    """The eldest question's caption. Whichever clip failed first ends the run."""
    question, future = pending.popleft()
    try:
        found = question, future.result()
    except (WorkFailed, Stopped):
        raise failures[0] from None
    return found


def _caption(
    reader: LogReader, question: _Question, geometry: ClipGeometry, settings: VlmSettings, asker: Asker, answers: Answers, failures: list[WorkFailed]
) -> str | None:
    clip = question.clip
    camera = next(camera for camera in question.episode.cameras if camera.name == clip["camera"])
    try:
        pictures = key_frames(reader, question.episode, camera, clip, geometry, settings.frames, settings.image_px)
        answer = asker.ask(request(settings, question.prompt, pictures))
    except NoAnswer as error:
        if error.refusal:
            return None
        failure = asker.failed(error)
    except UnreadableVideo as error:
        where = f"episode {clip['index']}, camera {clip['camera']}, from {clip['frame_times_s'][0]:.2f} s"
        remedy = "mend or leave out that video in a copy of the drop and ingest the copy under a new name"
        failure = WorkFailed(f"clip {clip['clip_id']} ({where}) cannot be decoded: {error}; {remedy}")
    except WorkFailed as error:
        failure = error
    else:
        answers.write(question.key, answer)
        return answer.text
    failures.append(failure)
    asker.stop()
    raise failure


def _video_sha256(source: Drop, clip: dict) -> str:
    """Hash of the file that a clip's pixels come from; of the whole drop where no single file is named."""
    name = clip["video"].partition("::")[0]
    return source.files[name][2] if name in source.files else source.fingerprint


def _cost(spent: Spent, kept: int, tokens: list[int], settings: VlmSettings) -> dict[str, Any]:
    """Of this run, and tokens of all captions, those kept from earlier runs included."""
    cost: dict[str, Any] = {
        "model": settings.model,
        "requests": spent.requests,
        "kept_from_earlier_runs": kept,
        "prompt_tokens": spent.prompt_tokens,
        "answer_tokens": spent.answer_tokens,
        "tokens_of_all_captions": sum(tokens) + spent.tokens,
    }
    dollars = settings.dollars(spent.prompt_tokens, spent.answer_tokens)
    if dollars is not None:
        cost["dollars"] = dollars
    return cost
