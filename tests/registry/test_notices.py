"""Webhooks against a real HTTP server on loopback."""

import hashlib
import hmac
import json
import socket
import threading

import pytest

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.registry.history import HISTORY, read_history
from cosmos_ops.registry.notices import SIGNATURE_HEADER, TOLD, Webhook, post, tell_moves
from cosmos_ops.registry.promote import promote, rollback
from tests.fixtures.webhook_receiver import receiving
from tests.registry.conftest import FIRST, SECOND
from tests.registry.test_promote import MODEL, run


@pytest.fixture
def receiver():
    with receiving() as server:
        yield server


def test_a_notice_is_signed_json_and_tried_again(receiver):
    receiver.answers = [503]
    post(Webhook(receiver.url, "key", wait_s=0.01), "run_failed", "ingest failed", {"drop": "monday"})
    (_, first), (headers, body) = receiver.got
    assert first == body and json.loads(body) == {"event": "run_failed", "text": "ingest failed", "drop": "monday"}
    assert headers[SIGNATURE_HEADER] == "sha256=" + hmac.new(b"key", body, hashlib.sha256).hexdigest()


def test_a_refusal_is_final_an_outage_is_not_and_neither_shows_the_path(receiver):
    receiver.answers = [404, 200]
    with pytest.raises(WorkFailed, match="answered 404") as refused:
        post(Webhook(receiver.url, wait_s=0.01), "run_failed", "x", {})
    assert len(receiver.got) == 1 and "s3cret" not in str(refused.value)
    receiver.answers = [500, 500, 500]
    with pytest.raises(WorkFailed, match="answered 500"):
        post(Webhook(receiver.url, wait_s=0.01), "run_failed", "x", {})
    assert len(receiver.got) == 4
    with pytest.raises(WorkFailed, match="does not answer"):
        post(Webhook("http://127.0.0.1:9/x", tries=1), "run_failed", "x", {})
    for address in ("ftp://x", "hooks.example.org/s3cret", "http://x/s3cret\n", "https://x/s3cret ä"):
        with pytest.raises(UserError, match="no http:// or https:// address") as refused:
            Webhook(address)
        assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_notice_that_would_be_sent_on_is_not_taken_for_delivered(receiver, status):
    receiver.answers = [status]
    with pytest.raises(WorkFailed, match=f"answered {status}"):
        post(Webhook(receiver.url, wait_s=0.01), "run_failed", "x", {})
    assert len(receiver.got) == 1


def test_an_answer_that_is_no_http_is_an_outage():
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"220 mail.example.org\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(WorkFailed, match="does not answer"):
            post(Webhook(f"http://127.0.0.1:{listening.getsockname()[1]}/s3cret", tries=2, wait_s=0.01), "run_failed", "x", {})
        thread.join()


def test_a_move_after_the_clock_was_set_back_is_told_too(house, receiver):
    run(house, {"lora-r8": 0.3}, house.dataset(FIRST))
    run(house, {"lora-r8": 0.5}, house.dataset(FIRST, SECOND))
    with house.tracking.exclusive(MODEL) as client:
        first, second = read_history(client, MODEL)
        first["time"] = second["time"].replace("20", "21", 1)
        client.set_registered_model_tag(MODEL, HISTORY, json.dumps([first, second]))
        client.set_registered_model_tag(MODEL, TOLD, first["time"])
    assert tell_moves(house.tracking, MODEL, Webhook(receiver.url)) == 1 and tell_moves(house.tracking, MODEL, Webhook(receiver.url)) == 0
    assert json.loads(receiver.got[0][1])["version"] == second["version"]


def test_every_move_is_told_once_in_order_and_what_was_missed_later(house, receiver):
    webhook = Webhook(receiver.url, wait_s=0.01)
    assert tell_moves(house.tracking, MODEL, webhook) == 0
    run(house, {"lora-r8": 0.3}, house.dataset(FIRST))
    assert tell_moves(house.tracking, MODEL, webhook) == 1 and tell_moves(house.tracking, MODEL, webhook) == 0
    told = json.loads(receiver.got[0][1])
    expected = {"event": "champion_moved", "name": MODEL, "version": 1, "previous_version": None, "action": "promote", "recipe": "lora-r8"}
    assert expected.items() <= told.items() and told["scores"]["psnr"]["n"] == 12 and told["text"].startswith(f"{MODEL}: champion is version 1 (lora-r8)")
    receiver.got.clear()
    run(house, {"lora-r8": 0.5}, house.dataset(FIRST, SECOND))
    receiver.answers = [503] * 3
    with pytest.raises(WorkFailed):
        tell_moves(house.tracking, MODEL, webhook)
    rollback(house.lake, house.tracking, house.profile)
    promote(house.lake, house.tracking, house.profile, "2")
    receiver.got.clear()
    assert tell_moves(house.tracking, MODEL, webhook) == 3
    assert [(json.loads(body)["action"], json.loads(body)["version"]) for _, body in receiver.got] == [("promote", 2), ("rollback", 1), ("promote", 2)]
