"""The judge against a real HTTP server on loopback that does as it is told, well or badly."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.evaluation.judge import Judge, parse_score
from cosmos_ops.evaluation.judge.questions import question
from cosmos_ops.evaluation.leaderboard import build_leaderboard, read_scoreboard, soundness
from cosmos_ops.evaluation.samples import read_samples
from cosmos_ops.evaluation.score import score
from cosmos_ops.profiles import JudgeSettings, load_profile
from tests.evaluation.conftest import CLIPS_EACH, EPISODES
from tests.evaluation.moving import moving_patch
from tests.evaluation.toy_lake import DATASET, EVALUATION, PROMPTS

N = EPISODES * CLIPS_EACH


def chat(text: str | None) -> tuple[int, dict]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return 200, {"choices": [choice], "usage": {"prompt_tokens": 1000, "completion_tokens": 50}}


def fair(body: dict, number: int) -> tuple[int, dict]:
    """5 for the physics of anything; instruction following by seed."""
    asks_physics = "filmed in the real world" in body["messages"][0]["content"][0]["text"]
    return chat(json.dumps({"score": 5 if asks_physics else 2 + body["seed"], "reason": "as seen"}))


class Endpoint:
    """`answer(body, number)` gives status and JSON of request `number`; bodies and keys are kept."""

    def __init__(self, answer):
        self.answer, self.bodies, self.keys, self.lock = answer, [], [], threading.Lock()
        self.at_once, self.most_at_once = 0, 0


@contextmanager
def serving(answer) -> Iterator[tuple[Endpoint, JudgeSettings]]:
    state = Endpoint(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                number = len(state.bodies)
                state.bodies.append(body)
                state.keys.append(self.headers.get("Authorization"))
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
            status, value = state.answer(body, number)
            with state.lock:
                state.at_once -= 1
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        yield state, JudgeSettings(url, "a-judge", seeds=(0, 1), frames=4, retries=3, backoff_s=0.01, timeout_s=60.0)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def asking(world):
    """The world with metrics that a judge is asked for."""
    metrics = ("psnr", "instruction_following", "physics")
    return replace(world, profile=replace(world.profile, evaluation=replace(world.profile.evaluation, metrics=metrics)))


def judged(world, manifest, settings, key=None):
    return score(world.lake, world.profile, manifest, EVALUATION, world.latents, servers={"judge": Judge(settings, key)})


def test_replies_are_read_strictly():
    assert parse_score('{"score": 4, "reason": "the cup is lifted"}') == 4
    for nonsense in (
        "4",
        "Score: 4",
        '{"score": 4}',
        '{"score": "4", "reason": ""}',
        '{"score": 4.0, "reason": ""}',
        '{"score": true, "reason": ""}',
        '{"score": 0, "reason": ""}',
        '{"score": 6, "reason": ""}',
        '{"score": 4, "reason": "", "also": 1}',
        '{"score": [4], "reason": ""}',
        '[{"score": 4, "reason": ""}]',
        '{"score": 4, "reason": ""} and more',
        '```json\n{"score": 4, "reason": ""}\n```',
        "[" * 100_000,
        "",
    ):
        assert parse_score(nonsense) is None, nonsense[:60]


def test_a_question_shows_the_video_in_order_and_is_asked_at_temperature_zero():
    settings = JudgeSettings("http://x/v1", "m", frames=3, image_px=32, extra={"max_tokens": None, "top_p": 1})
    made = question("physics", "put {it} down", moving_patch(frames=9), 8.0, settings, seed=7)
    assert (made["temperature"], made["seed"], made["top_p"], "max_tokens" in made) == (0, 7, 1, False)
    text, *pictures = made["messages"][0]["content"]
    assert "3 pictures" in text["text"] and "1.0 seconds" in text["text"] and '{"score":' in text["text"]
    assert len({picture["image_url"]["url"] for picture in pictures}) == 3
    assert "put {it} down" in question("instruction_following", "put {it} down", moving_patch(frames=9), 8.0, settings, 0)["messages"][0]["content"][0]["text"]


def test_videos_are_judged_side_by_side_and_paid_for_once(asking, generated):
    def slow(body, number):
        time.sleep(0.02)  # the server's own time, so that questions meet
        return fair(body, number)

    with serving(slow) as (endpoint, settings):
        made = judged(asking, generated["base"], settings, key="s3cret")
        assert len(endpoint.bodies) == N * 2 * 2 and 1 < endpoint.most_at_once <= settings.workers
        assert set(endpoint.keys) == {"Bearer s3cret"}
        assert {prompt for prompt in PROMPTS if any(prompt in body["messages"][0]["content"][0]["text"] for body in endpoint.bodies)} == set(PROMPTS)
        about = made.meta["about"]["judge"]
        assert (about["replies"], about["unparsable"], about["cached"], about["requests"]) == (32, 0, 0, 32)
        assert (about["prompt_tokens"], about["answer_tokens"], about["dollars"]) == (32_000, 1_600, None)
        priced = replace(settings, dollars_per_million_prompt_tokens=2.0, dollars_per_million_answer_tokens=10.0)
        assert judged(asking, generated["base"], priced).unchanged, "prices and addresses are no part of a score"
        again = score(
            asking.lake, asking.profile, replace(generated["base"], data_version="again"), EVALUATION, asking.latents, servers={"judge": Judge(settings)}
        )
        assert again.meta["about"]["judge"]["cached"] == 32 and len(endpoint.bodies) == 32
    summary = json.loads(made.file("summary.json").read_text())
    assert summary["scores"]["physics"]["mean"] == 5 and summary["scores"]["instruction_following"]["mean"] == 2.5


def test_nonsense_is_counted_and_never_scored(asking, generated, scored):
    def babble(body, number):
        text = body["messages"][0]["content"][0]["text"]
        if "filmed in the real world" in text:
            return chat("I would say a solid 4 out of 5!")
        if PROMPTS[0] in text and body["seed"] == 0:
            return chat('{"score": 9, "reason": "great"}')
        if PROMPTS[0] in text:
            return chat(None)
        return fair(body, number)

    with serving(babble) as (endpoint, settings):
        made = {name: judged(asking, manifest, replace(settings, model="babbler", retries=1)) for name, manifest in generated.items()}
    about = made["base"].meta["about"]["judge"]
    assert about["replies"] == 32 and about["unparsable"] == N * 2 + CLIPS_EACH * 2
    board = read_scoreboard(build_leaderboard(asking.lake, asking.profile, DATASET, EVALUATION, made, generated, {"lora-r8": asking.adapter}))
    assert "physics" not in board["scores"]["base"]
    assert board["scores"]["base"]["instruction_following"]["n"] == N - CLIPS_EACH
    assert board["paired"]["lora-r8"]["instruction_following"]["n"] == N - CLIPS_EACH
    assert soundness(board) == []
    assert any("20 of 32 replies could not be read" in note for note in board["notes"])


def test_what_passes_is_retried_and_what_does_not_ends_the_work_in_one_line(asking, generated):
    def stumbling(body, number):
        bad = {0: (503, {"error": "busy"}), 1: (429, {}), 2: (200, b"<html>not json"), 3: (500, b"")}
        return bad[number] if number in bad else fair(body, number)

    with serving(stumbling) as (endpoint, settings):
        made = judged(asking, generated["base"], replace(settings, model="stumbles"))
        about = made.meta["about"]["judge"]
        assert about["replies"] == 32 and about["unparsable"] == 0 and about["requests"] == len(endpoint.bodies) == 36
    with serving(lambda body, number: (401, {"error": "no such key s3cret"})) as (endpoint, settings), pytest.raises(WorkFailed) as failure:
        judged(asking, generated["base"], replace(settings, model="locked"), key="s3cret")
    assert "evaluation.judge.key_variable" in str(failure.value) and "s3cret" not in str(failure.value) and "captions" not in str(failure.value)
    with pytest.raises(WorkFailed, match="no connection.*leave evaluation.judge out"):
        judged(asking, generated["base"], replace(settings, model="gone", retries=1))


def test_the_budget_ends_the_work_and_what_was_answered_is_kept(asking, generated):
    with serving(fair) as (endpoint, settings):
        small = replace(settings, model="dear", max_requests=10)
        with pytest.raises(WorkFailed, match="10 requests were sent"):
            judged(asking, generated["base"], small)
        assert len(endpoint.bodies) == 10
        made = judged(asking, generated["base"], replace(small, max_requests=22))
        assert made.meta["about"]["judge"]["cached"] == 10 and len(endpoint.bodies) == 32


def test_without_a_judge_its_metrics_are_not_available(asking, generated):
    made = score(asking.lake, asking.profile, generated["base"], EVALUATION, asking.latents)
    assert set(made.meta["unavailable"]) == {"instruction_following", "physics"} and "endpoint" in made.meta["unavailable"]["physics"]


def test_a_judge_is_configured_strictly(tmp_path, asking, generated):
    nano = (load_profile.__globals__["FOLDER"] / "nano.yaml").read_text()
    path = tmp_path / "judged.yaml"
    path.write_text(
        nano.replace("evaluation: {max_clips: 16, min_clips: 2}", "evaluation: {judge: {base_url: 'http://localhost:8000/v1', model: m, seeds: [3]}}")
    )
    assert load_profile(str(path)).evaluation.judge == JudgeSettings("http://localhost:8000/v1", "m", seeds=(3,))
    path.write_text(path.read_text().replace("seeds: [3]", "seeds: []"))
    with pytest.raises(UserError, match="seeds names no seed"):
        load_profile(str(path))
    with pytest.raises(UserError, match="evaluation.judge.base_url"):
        judged(asking, generated["base"], JudgeSettings("ftp://host", "m"))


def test_samples_of_the_evaluation_set_have_the_prompts(world):
    assert {sample.prompt for sample in read_samples(world.lake, EVALUATION)} == set(PROMPTS)
