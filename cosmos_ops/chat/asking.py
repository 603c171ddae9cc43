"""Asking until there is an answer: retries with backoff, one pause for all when the endpoint asks for it, and a budget."""

import random
import threading
import time
from dataclasses import dataclass
from typing import Any

from cosmos_ops.chat.endpoint import Answer, Endpoint, NoAnswer
from cosmos_ops.chat.settings import ChatSettings
from cosmos_ops.errors import WorkFailed

_LONGEST_WAIT_S = 60.0
_LONGEST_ASKED_S = 600.0
"""An endpoint that asks for a longer pause is not waited for."""
_REFUSALS = 2
"""How often a model is asked that refuses: a matter of luck at most."""


class Stopped(Exception):
    """Another question's failure ended the run while this one waited."""


@dataclass
class Spent:
    """What a run cost so far."""

    requests: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.answer_tokens


class Asker:
    """Asks for many threads at a time. `setting` is where the profile says how, `remedy` what a failure's message advises beside mending the endpoint."""

    def __init__(self, settings: ChatSettings, key: str | None, setting: str, remedy: str):
        """Raises `UserError` for an address or a key that is none."""
        self._endpoint, self._settings = Endpoint(settings.base_url, settings.timeout_s, key, setting), settings
        self._setting, self._remedy = setting, remedy
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._pause_until_s = 0.0
        self.spent = Spent()

    def stop(self) -> None:
        """End every wait; whoever waits raises `Stopped`."""
        self._stop.set()

    def ask(self, request: dict[str, Any]) -> Answer:
        """The answer to one chat request.

        Raises `WorkFailed` where the endpoint gives none after `retries` more tries or the budget is spent, `NoAnswer` where the model refuses this
        one or has nothing to say, `Stopped` after `stop`.
        """
        refusals = 0
        for attempt in range(self._settings.retries + 1):
            self._wait()
            self._count_request()
            try:
                answer = self._endpoint.ask(request)
            except NoAnswer as error:
                self._count_tokens(*error.tokens)
                refusals += error.refusal
                if error.refusal and (refusals >= _REFUSALS or attempt == self._settings.retries):
                    raise
                if not error.passing or attempt == self._settings.retries:
                    if error.silence:
                        raise
                    raise self.failed(error, attempt + 1) from None
                self._put_off(error, attempt)
                continue
            self._count_tokens(answer.prompt_tokens, answer.answer_tokens)
            return answer
        raise AssertionError("the last attempt returns or raises")

    def _put_off(self, error: NoAnswer, attempt: int) -> None:
        """Wait before the next attempt; a wait that the endpoint asks for holds for everyone."""
        wait_s = min(_LONGEST_WAIT_S, self._settings.backoff_s * 2.0**attempt) * random.uniform(0.5, 1.0)
        if error.after_s is not None:
            if error.after_s > _LONGEST_ASKED_S:
                raise self.failed(NoAnswer(f"{error}, and asks to wait {error.after_s:.0f} s", False), attempt + 1)
            with self._lock:
                self._pause_until_s = max(self._pause_until_s, time.monotonic() + error.after_s)
        if self._stop.wait(wait_s):
            raise Stopped

    def _wait(self) -> None:
        while not self._stop.is_set():
            left_s = self._pause_until_s - time.monotonic()
            if left_s <= 0:
                return
            self._stop.wait(left_s)
        raise Stopped

    def _count_request(self) -> None:
        limits = self._settings
        with self._lock:
            if limits.max_requests is not None and self.spent.requests >= limits.max_requests:
                raise WorkFailed(f"the budget is spent: {self.spent.requests} requests were sent ({self._setting}.max_requests); raise it, or run again")
            if limits.max_total_tokens is not None and self.spent.tokens >= limits.max_total_tokens:
                raise WorkFailed(f"the budget is spent: {self.spent.tokens} tokens were used ({self._setting}.max_total_tokens); raise it, or run again")
            self.spent.requests += 1

    def _count_tokens(self, prompt: int, answer: int) -> None:
        with self._lock:
            self.spent.prompt_tokens += prompt
            self.spent.answer_tokens += answer

    def failed(self, error: NoAnswer, tries: int = 1) -> WorkFailed:
        """The line for somebody who must act."""
        where, model = self._settings.base_url, self._settings.model
        return WorkFailed(f"{model} at {where} gives no answer: {error}{f', {tries} tries' if tries > 1 else ''}; mend that{self._remedy}")
