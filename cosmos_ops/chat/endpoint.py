"""One question to an OpenAI-compatible endpoint: a POST to `/chat/completions`, bounded in time and size, and its answer read with care.

By `http.client`: no redirect is followed and no proxy, netrc or cookie of the machine is used, so the key goes to the profile's address alone.
"""

import contextlib
import datetime
import email.utils
import http.client
import json
import re
import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from cosmos_ops.chat.refusal import is_refusal
from cosmos_ops.errors import UserError

MOST_ANSWER_BYTES = 4 << 20
_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}
"""States that may pass by themselves."""
_THINKING = re.compile(r"^\s*<think>.*?</think>\s*", re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?][\"')\]]?(?=\s)|(?<!\d)[.!?][\"')\]]?$")
"""Not the point of a decimal, also where the text is cut behind it."""
_TAGS = re.compile(r"^\s*<answer>(.*?)(</answer>)?\s*$", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """A model's words and what they cost."""

    text: str
    prompt_tokens: int
    answer_tokens: int


class NoAnswer(Exception):
    """Nothing of use came back; the message says why in one line, without the key."""

    def __init__(self, why: str, passing: bool, after_s: float | None = None, tokens: tuple[int, int] = (0, 0), refusal: bool = False, silence: bool = False):
        super().__init__(why)
        self.passing = passing
        """Whether asking again may help."""
        self.after_s = after_s
        """How long the endpoint asks to wait."""
        self.tokens = tokens
        """Of the prompt and of the answer, where it was answered all the same."""
        self.refusal = refusal
        """The model answered, but not what it was asked."""
        self.silence = silence
        """The model answered, and said nothing."""


@dataclass(frozen=True)
class Endpoint:
    """Where to ask. Raises `UserError` for an address that is none."""

    base_url: str
    timeout_s: float
    key: str | None = field(default=None, repr=False)
    setting: str = "captions.vlm"
    """Where the profile says all this, for messages."""

    def __post_init__(self):
        parts, port = urlsplit(self.base_url), 0
        with contextlib.suppress(ValueError):
            port = parts.port or 1
        if parts.scheme not in ("http", "https") or not parts.hostname or not port:
            raise UserError(f"{self.setting}.base_url is no http:// or https:// address; write what comes before /chat/completions")
        if parts.username or parts.password or parts.query:
            raise UserError(f"{self.setting}.base_url holds a user, a password or a query; name the variable that holds the key as {self.setting}.key_variable")
        if self.key is not None and not (self.key.isascii() and self.key.isprintable() and self.key.strip() == self.key and self.key):
            raise UserError(f"the key for {self.setting} is empty or holds a space at an end, a line break or a letter that no header can carry; set it again")

    def ask(self, request: dict[str, Any]) -> Answer:
        """Send a chat request. Raises `NoAnswer`."""
        parts = urlsplit(self.base_url)
        make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = make(parts.hostname, parts.port, timeout=self.timeout_s)
        late = threading.Event()
        sockets: list[socket.socket] = []
        # A socket's own timeout starts again with every byte: a server that drips would hold a request for ever.
        watch = threading.Timer(self.timeout_s, self._cut, (sockets, late))
        watch.daemon = True
        watch.start()
        try:
            connection.connect()
            sockets.append(connection.sock)  # the connection lets go of it as soon as the answer's head is there
            if late.is_set():  # finding the name took the time; nobody would end what comes now
                raise TimeoutError
            connection.request("POST", f"{parts.path.rstrip('/')}/chat/completions", json.dumps(request), self._headers())
            response = connection.getresponse()
            content = response.read(MOST_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(
                self._late() if late.is_set() or isinstance(error, TimeoutError) else self._plain(f"no connection: {_reason(error)}"), True
            ) from None
        finally:
            watch.cancel()
            connection.close()
        if late.is_set():
            raise NoAnswer(self._late(), True)
        if response.status != 200:
            raise self._refused(response, content)
        return _read(content, self.setting)

    def _headers(self) -> dict[str, str]:
        key = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "cosmos-ops", **key}

    def _cut(self, sockets: list[socket.socket], late: threading.Event) -> None:
        late.set()
        for open_socket in sockets:  # none yet: connecting has the same timeout
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)

    def _late(self) -> str:
        return f"no whole answer within {self.timeout_s:g} s"

    def _refused(self, response: http.client.HTTPResponse, content: bytes) -> NoAnswer:
        said = self._plain(_message(content))
        status = f"HTTP {response.status}{f' ({said})' if said else ''}"
        if response.status in (401, 403):
            return NoAnswer(f"{status}: the key is refused; set the variable that {self.setting}.key_variable names", False)
        if 300 <= response.status < 400:
            return NoAnswer(f"HTTP {response.status}: the endpoint has moved; give its present address as {self.setting}.base_url", False)
        return NoAnswer(status, response.status in _PASSING, _seconds(response.getheader("Retry-After")))

    def _plain(self, text: str) -> str:
        """One short line, with the key taken out: some servers repeat it."""
        text = text.replace(self.key, "***") if self.key else text
        return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:200]


def _read(content: bytes, setting: str) -> Answer:
    if len(content) > MOST_ANSWER_BYTES:
        raise NoAnswer(f"the answer has more than {MOST_ANSWER_BYTES >> 20} MB", False)
    try:
        value = json.loads(content)
        choice = value["choices"][0]
        message = choice["message"]
        text = message["content"]
        refusal = message.get("refusal")
        ending = choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise NoAnswer("the answer is no chat completion in JSON", True) from None
    tokens = _tokens(value)
    if isinstance(text, list):  # parts, as some servers write it
        text = " ".join(part["text"] for part in text if isinstance(part, dict) and isinstance(part.get("text"), str))
    text = _bare(text) if isinstance(text, str) else ""
    if refusal or ending == "content_filter" or (is_refusal(text) and not text.startswith("{")):  # a judge's reply in JSON may say what it "cannot see"
        raise NoAnswer("the model refuses", True, tokens=tokens, refusal=True)
    if ending == "length":
        text = text[: max((match.end() for match in _SENTENCE_END.finditer(text)), default=0)]
        if not text:
            raise NoAnswer(f"the answer was cut before a sentence ended; raise {setting}.answer_tokens", False, tokens=tokens, silence=True)
    if not text:
        raise NoAnswer("the answer is empty", True, tokens=tokens, silence=True)
    return Answer(text, *tokens)


def _bare(text: str) -> str:
    """The text without thoughts, answer tags and quotation marks around it."""
    text = _THINKING.sub("", text)
    tagged = _TAGS.match(text)
    text = " ".join((tagged[1] if tagged else text).split())
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == '"' else text


def _tokens(value: dict[str, Any]) -> tuple[int, int]:
    usage = value.get("usage")
    counts = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    prompt, answer = (count if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**40 else 0 for count in counts)
    return prompt, answer


def _message(content: bytes) -> str:
    """What an error's body says, in the shapes that servers use."""
    text = content[:4000].decode(errors="replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "" if "<" in text else text
    for name in ("error", "message", "detail"):
        value = value.get(name, value) if isinstance(value, dict) else value
    return value if isinstance(value, str) else ""


def _seconds(header: str | None) -> float | None:
    """`Retry-After` (RFC 9110, 10.2.3): seconds or a date."""
    if header is None:
        return None
    if re.fullmatch(r"\d{1,6}(\.\d+)?", header.strip()):
        return float(header)
    try:
        moment = email.utils.parsedate_to_datetime(header)
        return max(0.0, (moment - datetime.datetime.now(datetime.UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
