"""Webhooks: each move of the champion alias, and what needs a person, as a JSON POST.

A move is told at least once and in order: which entry of the history was told last is kept in a tag of the registered model, and what a
receiver did not get goes out with the next command.
"""

import hashlib
import hmac
import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlparse

from mlflow import MlflowClient

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.hashing import canonical_json
from cosmos_ops.registry import names
from cosmos_ops.registry.history import read_history
from cosmos_ops.registry.tracking import Tracking
from cosmos_ops.registry.versions import by_number

TOLD = "cosmos.told"
SIGNATURE_HEADER = "X-Cosmos-Signature"
"""`sha256=` and the hex HMAC-SHA256 of the body under the webhook's secret."""


@dataclass(frozen=True)
class Webhook:
    """Where notices go."""

    url: str
    secret: str | None = None
    """Signs the body; None sends no signature."""
    timeout_s: float = 10.0
    tries: int = 3
    wait_s: float = 1.0
    """Before the second try, doubled for each further one."""

    def __post_init__(self):
        # What is wrong is not shown: paths and logins of webhooks are secrets.
        if not self.url.startswith(("http://", "https://")) or not (self.url.isascii() and self.url.isprintable()) or " " in self.url:
            raise UserError("the webhook is no http:// or https:// address; give it whole, as the chat service shows it")


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Stay)


def post(webhook: Webhook, event: str, text: str, facts: dict[str, Any]) -> None:
    """POST {`event`, `text`, ...facts}; `text` is one line for people, under the key that chat services read.

    Raises `WorkFailed` when no try is answered with 2xx; an answer of 3xx or 4xx is final: a POST that is sent on arrives without its body.
    """
    body = canonical_json({"event": event, "text": text, **facts}).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "cosmos-ops"}
    if webhook.secret:
        headers[SIGNATURE_HEADER] = f"sha256={hmac.new(webhook.secret.encode(), body, hashlib.sha256).hexdigest()}"
    host = urlparse(webhook.url).netloc.rsplit("@", 1)[-1]
    said = ""
    for number in range(webhook.tries):
        if number:
            time.sleep(webhook.wait_s * 2 ** (number - 1))
        try:
            _OPENER.open(urllib.request.Request(webhook.url, body, headers), timeout=webhook.timeout_s).close()
            return
        except urllib.error.HTTPError as error:
            said = f"answered {error.code}"
            if 300 <= error.code < 500 and error.code != 429:
                break
        except (OSError, http.client.HTTPException) as error:
            said = f"does not answer ({getattr(error, 'reason', error)})"
    raise WorkFailed(f"the webhook at {host} {said}; notice {event!r} was not delivered")


def tell_moves(tracking: Tracking, model: str, webhook: Webhook) -> int:
    """Post every move of the champion alias that was not told yet, oldest first, and return how many. The first time only the latest is told.

    Raises `WorkFailed` where one cannot be delivered; it and those after it are told the next time.
    """
    with tracking.exclusive(model) as client:
        if not client.search_registered_models(f"name = '{model}'"):
            return 0
        entries = read_history(client, model)
        told = client.get_registered_model(model).tags.get(TOLD)
        new = _after(entries, told) if told else entries[-1:]
        for entry in new:
            facts = _facts(client, model, entries, entry)
            post(webhook, "champion_moved", facts.pop("text"), facts)
            client.set_registered_model_tag(model, TOLD, entry["time"])
    return len(new)


def _after(entries: list[dict[str, Any]], told: str) -> list[dict[str, Any]]:
    """What follows the entry of a time. The order is the history's own: a clock may have been set back since."""
    places = [place for place, entry in enumerate(entries) if entry["time"] == told]
    return entries[places[-1] + 1 :] if places else [entry for entry in entries if entry["time"] > told]


def _facts(client: MlflowClient, model: str, entries: list[dict[str, Any]], entry: dict[str, Any]) -> dict[str, Any]:
    earlier = entries[: entries.index(entry)]
    previous = earlier[-1]["version"] if earlier else None
    made = by_number(client, model, entry["version"]) if entry["version"] is not None else None
    tags = made.tags if made else {}
    now = f"version {entry['version']} ({tags.get(names.RECIPE, 'unknown recipe')})" if entry["version"] is not None else "nobody"
    return {
        "text": f"{model}: champion is {now}, {entry['action']}: {entry['reason']}",
        "name": model,
        "version": entry["version"],
        "previous_version": previous,
        "action": entry["action"],
        "reason": entry["reason"],
        "time": entry["time"],
        "run_id": made.run_id if made else None,
        "recipe": tags.get(names.RECIPE),
        "dataset_version": tags.get(names.DATASET_VERSION),
        "scores": json.loads(tags.get(names.SCORES, "null")),
    }
