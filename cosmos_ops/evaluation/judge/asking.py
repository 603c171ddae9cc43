"""Asking a judge until it answers: retries with growing waits, a budget, and a count of what was spent."""

import random
import threading
from dataclasses import dataclass
from typing import Any

from cosmos_ops.captions.vlm.endpoint import Answer, Endpoint, NoAnswer
from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.profiles import JudgeSettings

_LONGEST_WAIT_S = 60.0
_SAID_NOTHING = ("the answer is empty", "the answer was cut")
"""The endpoint works and the model has nothing to say of this video: a reply that cannot be read."""


@dataclass
class Spent:
    """What was asked, and what it cost."""

    requests: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0

    def dollars(self, settings: JudgeSettings) -> float | None:
        """None where the profile gives no prices."""
        prices = settings.dollars_per_million_prompt_tokens, settings.dollars_per_million_answer_tokens
        return None if None in prices else (self.prompt_tokens * prices[0] + self.answer_tokens * prices[1]) / 1e6


class Asker:
    """Asks for several threads at a time."""

    def __init__(self, settings: JudgeSettings, key: str | None):
        self._settings, self.spent = settings, Spent()
        self._lock, self._stop = threading.Lock(), threading.Event()
        try:
            self._endpoint = Endpoint(settings.base_url, settings.timeout_s, key)
        except UserError as error:
            raise UserError(_named(str(error))) from None

    def stop(self) -> None:
        """End every wait: another question failed for good."""
        self._stop.set()

    def ask(self, request: dict[str, Any]) -> Answer | None:
        """The answer to one chat request, None where the model refuses or says nothing.

        Raises `WorkFailed` when none comes after all tries, or the budget is spent.
        """
        for attempt in range(self._settings.retries + 1):
            self._count(1)
            try:
                answer = self._endpoint.ask(request)
            except NoAnswer as error:
                self._count(0, *error.tokens)
                if error.refusal or (str(error).startswith(_SAID_NOTHING) and (not error.passing or attempt == self._settings.retries)):
                    return None
                if not error.passing or attempt == self._settings.retries:
                    tries = f" after {attempt + 1} tries" if attempt else ""
                    where = f"{self._settings.model} at {self._settings.base_url}"
                    raise WorkFailed(f"the judge {where} gives no answer{tries}: {_named(str(error))}; mend that, or leave evaluation.judge out") from None
                wait_s = min(_LONGEST_WAIT_S, max(error.after_s or 0.0, self._settings.backoff_s * 2.0**attempt * random.uniform(0.5, 1.0)))
                if self._stop.wait(wait_s):
                    raise WorkFailed("another question to the judge failed") from None
                continue
            self._count(0, answer.prompt_tokens, answer.answer_tokens)
            return answer
        raise AssertionError("the last attempt returns or raises")

    def _count(self, requests: int, prompt_tokens: int = 0, answer_tokens: int = 0) -> None:
        most = self._settings.max_requests
        with self._lock:
            if requests and most is not None and self.spent.requests >= most:
                raise WorkFailed(f"the judge's budget is spent: {most} requests were sent (evaluation.judge.max_requests); raise it and run again")
            self.spent.requests += requests
            self.spent.prompt_tokens += prompt_tokens
            self.spent.answer_tokens += answer_tokens


def _named(text: str) -> str:
    """The endpoint's words are about captions, its first user."""
    return text.replace("captions.vlm", "evaluation.judge").replace("describe the clip", "judge the video")
