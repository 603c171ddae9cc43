"""One question to a real server, and what is made of its answer."""

import json
import socket
import threading
import time

import pytest

from cosmos_ops.chat.endpoint import Endpoint, NoAnswer
from tests.captions.vision_server import completion, send, serving

QUESTION = {"messages": [{"role": "user", "content": [{"type": "text", "text": "What happens?"}]}]}


def answer(text: str, ending: str = "stop") -> str:
    with serving(lambda server, number, asked, handler: send(handler, 200, completion(text, ending=ending))) as server:
        return Endpoint(server.base_url, 20.0).ask(QUESTION).text


@pytest.mark.parametrize(
    ("cut", "whole"),
    [
        ("A block slides. It goes 12.5 cm to", "A block slides."),
        ("Does it slide? It does! It goes", "Does it slide? It does!"),
        ('It says "go." Then it', 'It says "go."'),
        ("A block slides. It stops.", "A block slides. It stops."),
        ("A block slides. It goes 12.", "A block slides."),
    ],
)
def test_a_text_cut_at_its_length_ends_with_its_last_whole_sentence(cut, whole):
    assert answer(cut, "length") == whole


def test_a_decimal_is_no_sentence():
    with pytest.raises(NoAnswer, match="cut before a sentence ended"):
        answer("A block goes 12.5 cm to", "length")


def test_a_reply_in_json_is_no_refusal_whatever_its_words():
    reply = json.dumps({"score": 2, "reason": "the block is lifted, but I cannot see it being put down"})
    assert answer(reply) == reply
    with pytest.raises(NoAnswer, match="refuses"):
        answer("I cannot see it being put down")


def test_a_name_that_takes_long_to_find_is_no_way_round_the_time_limit(monkeypatch):
    """A server that sends a byte now and then is cut off also where the time was over before the connection was there."""
    find = socket.getaddrinfo

    def slowly(*arguments, **named):
        threading.Event().wait(0.6)
        return find(*arguments, **named)

    def drips(server, number, asked, handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while not server.closing.wait(0.02):
            handler.wfile.write(b" ")

    with serving(drips) as server:
        monkeypatch.setattr(socket, "getaddrinfo", slowly)
        began = time.monotonic()
        with pytest.raises(NoAnswer, match="no whole answer within 0.3 s"):
            Endpoint(server.base_url, 0.3).ask(QUESTION)
    assert time.monotonic() - began < 10
