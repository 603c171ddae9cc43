"""Webhooks against a real HTTP server on loopback."""

import hashlib
import hmac
import json

import pytest

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.registry.notices import SIGNATURE_HEADER, Webhook, post, tell_moves
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
    with pytest.raises(UserError, match="no http:// or https:// address"):
        Webhook("ftp://x")


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
