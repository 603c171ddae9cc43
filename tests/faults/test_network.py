"""A network to MLflow that is cut: connections open and nothing ever answers, which is worse than a refusal."""

import socket
import time

import pytest

from cosmos_ops.errors import UserError
from cosmos_ops.registry.connection import connect


def test_a_server_that_never_answers_is_told_in_seconds(recovered):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(UserError, match="does not answer .*start the server or correct the tracking URI"):
            connect(f"http://127.0.0.1:{silent.getsockname()[1]}")
        seconds = time.monotonic() - began
    assert seconds < 60, "MLflow's own client tries for many minutes"
    recovered("MLflow's network cut, until one line says so", seconds)
