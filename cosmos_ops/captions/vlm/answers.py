"""Answers of vision models, kept in the lake so that no clip is paid for twice."""

import json
from dataclasses import asdict
from pathlib import Path

from cosmos_ops.chat.endpoint import Answer
from cosmos_ops.hashing import digest
from cosmos_ops.lake import Lake
from cosmos_ops.store.notes import read_note, write_note


class Answers:
    """One JSON file an answer, written whole or not at all; its name is a hash of the clip's content and of everything that was asked."""

    def __init__(self, lake: Lake):
        self._folder = lake.caption_answers()

    def read(self, key: str) -> Answer | None:
        """The answer under a key; None where there is none that can be read."""
        try:
            stored = json.loads(read_note(self._path(key)))
            answer = Answer(stored["text"], stored["prompt_tokens"], stored["answer_tokens"])
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return answer if isinstance(answer.text, str) and answer.text else None

    def write(self, key: str, answer: Answer) -> None:
        write_note(self._path(key), asdict(answer))

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"


def answer_key(clip_id: str, video_sha256: str, prompt: str, asked: dict) -> str:
    """What an answer is kept under: which moments of which bytes were shown, with which words, to which model under which settings."""
    return digest([clip_id, video_sha256, prompt, asked], 32)
