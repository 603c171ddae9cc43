"""A chat endpoint on loopback that does as it is told: a real HTTP server, one thread a request."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """One request that came in."""

    body: dict[str, Any]
    authorization: str | None
    path: str
    at_s: float

    @property
    def prompt(self) -> str:
        return self.body["messages"][0]["content"][0]["text"]

    @property
    def pictures(self) -> list[str]:
        return [part["image_url"]["url"] for part in self.body["messages"][0]["content"][1:]]


Behaviour = Callable[["VisionServer", int, Asked, BaseHTTPRequestHandler], None]


@dataclass
class VisionServer:
    """`behaviour` answers request number n (from 0)."""

    behaviour: Behaviour
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Condition = field(default_factory=threading.Condition)
    base_url: str = ""

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.arrived:
            number = len(self.asked)
            self.asked.append(Asked(body, handler.headers.get("Authorization"), handler.path, time.monotonic()))
            self.arrived.notify_all()
        self.behaviour(self, number, self.asked[number], handler)


def send(handler: BaseHTTPRequestHandler, status: int, content: bytes | dict, **headers: str) -> None:
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def completion(text: str | None, ending: str = "stop", **message) -> dict:
    return {
        "id": "chat-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": ending}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20},
    }


def caption_of(asked: Asked) -> str:
    """A caption that depends on the pictures: what a model that looks would give."""
    return f"A red block slides over the table, seen {hash_of(asked.pictures)}."


def hash_of(pictures: list[str]) -> str:
    return hashlib.sha256("".join(pictures).encode()).hexdigest()[:10]


def well(server: VisionServer, number: int, asked: Asked, handler: BaseHTTPRequestHandler) -> None:
    send(handler, 200, completion(caption_of(asked)))


@contextmanager
def serving(behaviour: Behaviour = well) -> Iterator[VisionServer]:
    """The server, on a port of its own, while the block runs."""
    state = VisionServer(behaviour)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            try:
                state.take(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client gave up

        def log_message(self, *arguments):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
