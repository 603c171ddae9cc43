"""The judge as what measures `instruction_following` and `physics`."""

import concurrent.futures
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_ops.chat.asking import Asker
from cosmos_ops.chat.endpoint import NoAnswer
from cosmos_ops.evaluation.judge.questions import question, rubrics_version
from cosmos_ops.evaluation.judge.replies import parse_score
from cosmos_ops.evaluation.served import Served, Task, Values
from cosmos_ops.hashing import digest
from cosmos_ops.profiles import JudgeSettings
from cosmos_ops.progress import Progress
from cosmos_ops.store.notes import read_note, write_note


class Judge:
    """Scores generated videos through an endpoint; see `served.Server`.

    A sample's value is the mean of the scores of all seeds whose reply could be read; it has none where none could. Replies are kept in the lake under a
    hash of the whole request, readable or not, so that nothing is paid for twice. `about` counts them: `replies`, `unparsable`, `cached`,
    `requests` (retries included), `prompt_tokens`, `answer_tokens`, `dollars` (null without prices).
    """

    absence = None

    def __init__(self, settings: JudgeSettings, key: str | None = None):
        self.settings, self._key = settings, key
        self.version = rubrics_version(settings)

    def measure(self, task: Task, progress: Progress) -> Served:
        """Raises `WorkFailed` where the endpoint does not answer, `UserError` for an address that is none."""
        asker, folder = Asker(self.settings, self._key, "evaluation.judge", ", or leave evaluation.judge out"), task.lake.judge_answers()
        scores: dict[tuple[str, str], list[int]] = {}
        counts = {"replies": 0, "unparsable": 0, "cached": 0}
        with concurrent.futures.ThreadPoolExecutor(self.settings.workers) as pool:
            jobs = self._jobs(task)
            total = len(task.samples) * len(task.columns) * len(self.settings.seeds)
            running: dict[concurrent.futures.Future, tuple[str, str]] = {}
            try:
                # A few waiting beside those under way: pictures of a whole evaluation set do not fit in memory.
                while running or counts["replies"] < total:
                    while len(running) < 2 * self.settings.workers and (job := next(jobs, None)) is not None:
                        sample_key, column, request = job
                        running[pool.submit(_answered, asker, folder, request)] = (sample_key, column)
                    for done in concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED).done:
                        text, cached = done.result()
                        score = None if text is None else parse_score(text)
                        scores.setdefault(running.pop(done), []).extend([] if score is None else [score])
                        counts = {
                            "replies": counts["replies"] + 1,
                            "unparsable": counts["unparsable"] + (score is None),
                            "cached": counts["cached"] + cached,
                        }
                        progress(counts["replies"], total, "judging")
            except BaseException:
                asker.stop()
                for future in running:
                    future.cancel()
                raise
        values: Values = {sample.sample_key: {column: _mean(scores[sample.sample_key, column]) for column in task.columns} for sample in task.samples}
        spent = asker.spent
        dollars = self.settings.dollars(spent.prompt_tokens, spent.answer_tokens)
        cost = {
            "requests": spent.requests,
            "prompt_tokens": spent.prompt_tokens,
            "answer_tokens": spent.answer_tokens,
            "dollars": dollars,
        }
        return Served(values, about={"model": self.settings.model, **counts, **cost})

    def _jobs(self, task: Task) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for sample in task.samples:
            frames = task.read(sample)
            for column in task.columns:
                for seed in self.settings.seeds:
                    yield sample.sample_key, column, question(column, sample.prompt, frames, sample.fps, self.settings, seed)


def _answered(asker: Asker, folder: Path, request: dict[str, Any]) -> tuple[str | None, bool]:
    """A reply, and whether it had been given before; None for a refusal."""
    path = folder / f"{digest(request, 32)}.json"
    try:
        return json.loads(read_note(path))["text"], True
    except (OSError, ValueError, LookupError, TypeError):
        pass  # not asked yet, or the file was damaged: asked again
    try:
        text = asker.ask(request).text
    except NoAnswer:
        text = None
    write_note(path, {"text": text})
    return text, False


def _mean(scores: list[int]) -> float | None:
    return float(np.mean(scores)) if scores else None
