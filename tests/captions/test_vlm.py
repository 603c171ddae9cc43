"""The vision captioner against a real server that behaves, misbehaves and is left alone."""

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest
import yaml

from cosmos_ops.captions.vlm.pictures import key_times_s
from cosmos_ops.captions.vlm.prompt import filled
from cosmos_ops.captions.write import caption_drop
from cosmos_ops.chat.refusal import is_refusal
from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.lake import Lake
from cosmos_ops.profiles import CaptionSettings, Profile, VlmSettings, load_profile
from cosmos_ops.shards.plan import plan_clips
from tests.captions.vision_server import VisionServer, caption_of, completion, send, serving, well
from tests.fixtures.lerobot_factory import write_lerobot
from tests.shards.lakes import ready_for_shards, small_profile

ROOT = Path(__file__).parents[2]
CLIPS = 12
KEY = "sk-planted-0123456789abcdef"


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> Lake:
    """4 episodes of 3 clips, planned under a profile whose data fingerprint the tests give to theirs."""
    home = tmp_path_factory.mktemp("vlm")
    return ready_for_shards(home / "lake", write_lerobot(home / "log", episodes=4, tasks=("push the block", "lift the block")), small_profile())


@pytest.fixture
def lake(planned, tmp_path) -> Lake:
    shutil.copytree(planned.root, tmp_path / "lake")
    return Lake(tmp_path / "lake")


def asking(server: VisionServer | str, **settings) -> Profile:
    url = server if isinstance(server, str) else server.base_url
    vlm = VlmSettings(**{"base_url": url, "model": "toy-vision", "backoff_s": 0.001, "timeout_s": 20.0, "workers": 2, "image_px": 96, **settings})
    return small_profile(captions=CaptionSettings(captioner="vlm", vlm=vlm))


def caption(lake: Lake, profile: Profile, key: str | None = None):
    ready = small_profile()
    for stage in ("quality",):
        target = lake.drop_stage("toy", stage, profile.data_fingerprint)
        if not target.exists():
            shutil.copytree(lake.drop_stage("toy", stage, ready.data_fingerprint), target)
    plan_clips(lake, "toy", profile)
    return caption_drop(lake, "toy", profile, key=key)


def texts(manifest) -> list[str]:
    return pq.read_table(manifest.file("captions.parquet"))["caption"].to_pylist()


def test_a_clip_is_shown_by_its_key_frames_and_the_log_s_words(lake):
    with serving() as server:
        manifest = caption(lake, asking(server), KEY)
        again = caption(lake, asking(server), KEY)
    assert again.unchanged and len(server.asked) == CLIPS
    first = server.asked[0]
    assert first.path == "/v1/chat/completions" and first.authorization == f"Bearer {KEY}"
    assert first.body["model"] == "toy-vision" and first.body["max_tokens"] == 300 and first.body["temperature"] == 0
    assert "push the block" in first.prompt and "toy-arm" in first.prompt and '"front"' in first.prompt and "1.1 seconds" in first.prompt
    assert not {"$task", "$robot", "$camera", "$seconds", "$frames"} & set(first.prompt.split())
    for url in first.pictures:
        with av.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/jpeg;base64,")))) as picture:
            frame = next(picture.decode(video=0))
            assert (frame.height, frame.width) == (72, 96)
    assert len(first.pictures) == len(set(first.pictures)) == 4
    # Answers come in any order; each must stand beside its own clip.
    assert sorted(texts(manifest)) == sorted(caption_of(asked) for asked in server.asked) and len(set(texts(manifest))) == CLIPS
    assert manifest.meta["vlm"] | {"model": ""} == {
        "model": "",
        "requests": CLIPS,
        "kept_from_earlier_runs": 0,
        "prompt_tokens": 100 * CLIPS,
        "answer_tokens": 20 * CLIPS,
        "tokens_of_all_captions": 120 * CLIPS,
    }


def test_key_frames_are_spread_from_the_first_to_the_last():
    times = [number / 8 for number in range(9)]
    assert key_times_s(times, 4) == [0.0, 0.375, 0.625, 1.0] and key_times_s(times, 1) == [0.5] and key_times_s(times, 99) == times


def once(*failures):
    """Each of `failures` for one request, then good answers."""

    def behave(server, number, asked, handler):
        (failures[number] if number < len(failures) else well)(server, number, asked, handler)

    return behave


def says(status: int, content=b"{}", **headers):
    return lambda server, number, asked, handler: send(handler, status, content, **headers)


def hangs(server, number, asked, handler):
    server.closing.wait()


def drips(server, number, asked, handler):
    """A byte now and then: each of them would satisfy a socket's own timeout."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not server.closing.wait(0.02):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def hangs_up(server, number, asked, handler):
    handler.connection.close()
    raise ConnectionResetError


PASSING = {
    "500": says(500, b"<html>oops</html>"),
    "503 in words": says(503, {"error": {"message": "overloaded"}}),
    "429": says(429, {"error": "slow down"}, Retry_After="0"),
    "no JSON": says(200, b"{not json"),
    "JSON of another kind": says(200, {"choices": []}),
    "a list": says(200, b"[1, 2]"),
    "no text": says(200, completion(None)),
    "empty": says(200, completion("  ")),
    "cut off": says(200, b'{"choices": [', Content_Length="5000"),
    "hung up": hangs_up,
    "refused once": says(200, completion("I'm sorry, but I can't help with that.")),
    "filtered": says(200, completion("", ending="content_filter")),
    "refused in its field": says(200, completion(None, refusal="no")),
}


@pytest.mark.parametrize("failure", PASSING)
def test_what_passes_is_asked_again(lake, failure):
    with serving(once(PASSING[failure])) as server:
        manifest = caption(lake, asking(server, workers=1))
    assert len(server.asked) == CLIPS + 1 == manifest.meta["vlm"]["requests"] and len(set(texts(manifest))) == CLIPS
    assert server.asked[0].body == server.asked[1].body


@pytest.mark.parametrize("slow", [hangs, drips])
def test_an_answer_that_does_not_end_is_given_up_in_time(lake, slow):
    began = time.monotonic()
    with serving(once(slow)) as server:
        manifest = caption(lake, asking(server, workers=1, timeout_s=1.0))
    assert 0.9 <= server.asked[1].at_s - server.asked[0].at_s and time.monotonic() - began < 120
    assert manifest.meta["vlm"]["requests"] == CLIPS + 1


def test_everyone_waits_as_long_as_the_endpoint_asks(lake):
    with serving(once(says(429, Retry_After="0.5"))) as server:
        caption(lake, asking(server, workers=2))
    # Two were under way; what came after the refusal came half a second later.
    assert server.asked[2].at_s - server.asked[0].at_s >= 0.5


@pytest.mark.parametrize(
    "failure, words",
    [
        (
            says(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}),
            r"HTTP 401 \(Incorrect API key provided: \*\*\*\): the key is refused; set the",
        ),
        (says(404, {"error": {"message": "model toy-vision does not exist"}}), "toy-vision at http://127.0.0.1:.* HTTP 404 .model toy-vision does not exist"),
        (says(302, b"", Location="http://127.0.0.1:1/steal"), "HTTP 302: the endpoint has moved"),
        (says(400, {"message": "too many images\nin one request"}), r"HTTP 400 \(too many images in one request\)"),
        (says(200, completion("The robot starts to", ending="length")), "cut before a sentence ended; raise captions.vlm.answer_tokens"),
        (says(429, Retry_After="7200"), "asks to wait 7200 s"),
    ],
)
def test_what_does_not_pass_ends_the_run_at_once_in_one_line(lake, failure, words):
    with serving(lambda *arguments: failure(*arguments)) as server, pytest.raises(WorkFailed, match=words) as raised:
        caption(lake, asking(server, workers=1), KEY)
    assert len(server.asked) == 1 and "\n" not in str(raised.value) and KEY not in str(raised.value)


def test_an_endpoint_that_stays_down_is_given_up_and_the_answers_are_kept(lake):
    with serving(lambda server, number, asked, handler: (well if number < 5 else says(500))(server, number, asked, handler)) as server:
        with pytest.raises(WorkFailed, match=r"HTTP 500, 3 tries; .* \(5 of 12 captions of drop toy are there and kept\)"):
            caption(lake, asking(server, workers=1, retries=2))
        assert len(server.asked) == 5 + 3
        server.behaviour = well
        manifest = caption(lake, asking(server, retries=2))
        assert len(server.asked) == 8 + CLIPS - 5 and manifest.meta["vlm"]["kept_from_earlier_runs"] == 5
    with pytest.raises(WorkFailed, match="no connection"):
        caption(lake, asking("http://127.0.0.1:9/v1", retries=0, model="another"))


def test_a_model_that_refuses_one_clip_does_not_cost_the_others(lake):
    refuse = says(200, completion("I'm sorry, I can't describe this."))
    shown: list = []

    def behave(server, number, asked, handler):
        shown[:] = shown or [asked.pictures]
        (refuse if asked.pictures == shown[0] else well)(server, number, asked, handler)

    with serving(behave) as server:
        with pytest.raises(WorkFailed, match="refuses to describe 1 of 12 clips of drop toy, first [0-9a-f]{16}; the others are kept"):
            caption(lake, asking(server))
        assert len(server.asked) == CLIPS + 1
        server.behaviour = well
        assert len(set(texts(caption(lake, asking(server))))) == CLIPS and len(server.asked) == CLIPS + 2


@pytest.mark.parametrize("limit, sent", [({"max_requests": 4}, 4), ({"max_total_tokens": 500}, 5)])
def test_a_budget_stops_the_run_and_the_next_goes_on(lake, limit, sent):
    with serving() as server:
        for done in (sent, 2 * sent):
            with pytest.raises(WorkFailed, match=rf"the budget is spent: .*{next(iter(limit))}.* \({done} of 12 captions"):
                caption(lake, asking(server, workers=1, **limit))
        assert len(server.asked) == 2 * sent
        prices = {"dollars_per_million_prompt_tokens": 1000.0, "dollars_per_million_answer_tokens": 5000.0}
        cost = caption(lake, asking(server, **prices)).meta["vlm"]
    left = CLIPS - 2 * sent
    assert cost["requests"] == left and cost["dollars"] == pytest.approx(left * 0.2) and cost["tokens_of_all_captions"] == 120 * CLIPS


def test_another_model_prompt_or_setting_asks_anew_and_another_address_does_not(lake, tmp_path):
    (tmp_path / "short.txt").write_text("Say what happens in $seconds s.")
    with serving() as first, serving() as second:
        same = asking(first)
        caption(lake, same)
        assert asking(second, workers=7, retries=1).data_fingerprint == same.data_fingerprint
        shutil.rmtree(lake.drop_stage("toy", "captions", same.data_fingerprint))
        caption(lake, asking(second))
        assert not second.asked
        others = [{"model": "b"}, {"frames": 2}, {"image_px": 64}, {"answer_tokens": 50}, {"extra": {"seed": 1}}, {"prompt": str(tmp_path / "short.txt")}]
        for number, change in enumerate(others, start=1):
            assert asking(second, **change).data_fingerprint != same.data_fingerprint
            caption(lake, asking(second, **change))
            assert len(second.asked) == number * CLIPS
        assert second.asked[-1].prompt == "Say what happens in 1.1 s."


def test_fields_of_the_request_can_be_added_and_taken_out(lake):
    with serving() as server:
        caption(lake, asking(server, extra={"max_tokens": None, "max_completion_tokens": 99, "seed": 4}))
    assert "max_tokens" not in server.asked[0].body and server.asked[0].body["max_completion_tokens"] == 99 and server.asked[0].body["seed"] == 4
    assert server.asked[0].authorization is None


@pytest.mark.parametrize(
    "raw, clean",
    [
        ("<think>\nThe block is red. I should say so.\n</think>\n\nA red block\n slides.", "A red block slides."),
        ("<think>hm</think><answer>A red block slides.</answer>", "A red block slides."),
        ('"A red block slides."', "A red block slides."),
        ([{"type": "text", "text": "A red block slides."}], "A red block slides."),
    ],
)
def test_thoughts_tags_and_quotation_marks_are_no_part_of_a_caption(lake, raw, clean):
    with serving(says(200, completion(raw))) as server:
        assert set(texts(caption(lake, asking(server)))) == {clean}


def test_an_answer_cut_at_its_length_ends_with_its_last_whole_sentence(lake):
    with serving(says(200, completion("A red block slides. It stops at the", ending="length"))) as server:
        assert set(texts(caption(lake, asking(server)))) == {"A red block slides."}


def test_killed_it_goes_on_where_it_stopped(lake, tmp_path):
    """SIGKILL while two requests are under way; nothing that was answered is asked again."""
    with serving(lambda server, number, asked, handler: (well if number < 5 else hangs)(server, number, asked, handler)) as server:
        profile = asking(server)
        caption_plan = {"name": "small", "clip": {"frames": 9, "height": 48, "width": 64, "max_fps": 8.0}, "shards": {"clips_per_shard": 8}}
        nano = yaml.safe_load((ROOT / "cosmos_ops/profiles/nano.yaml").read_text())
        vlm = {name: getattr(profile.captions.vlm, name) for name in ("base_url", "model", "backoff_s", "timeout_s", "workers", "image_px")}
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(nano | caption_plan | {"captions": {"captioner": "vlm", "vlm": vlm}}))
        assert load_profile(str(path)).data_fingerprint == profile.data_fingerprint
        shutil.copytree(lake.drop_stage("toy", "quality", small_profile().data_fingerprint), lake.drop_stage("toy", "quality", profile.data_fingerprint))
        plan_clips(lake, "toy", profile)
        program = [sys.executable, "-m", "tests.captions.caption_in_a_process", str(lake.root), str(path)]
        process = subprocess.Popen(program, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True)
        with server.arrived:
            assert server.arrived.wait_for(lambda: len(server.asked) == 7 or process.poll() is not None, timeout=300)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        kept = len(list(lake.caption_answers().rglob("[!.]*.json")))
        assert len(server.asked) == 7 and kept == 5
        server.behaviour = well
        manifest = caption(lake, profile)
        assert len(server.asked) == 7 + CLIPS - kept and manifest.meta["vlm"]["kept_from_earlier_runs"] == kept
    assert sorted(texts(manifest)) == sorted({caption_of(asked) for asked in server.asked}) and len(set(texts(manifest))) == CLIPS


def test_a_damaged_answer_in_the_lake_is_asked_for_again(lake):
    with serving() as server:
        profile = asking(server)
        before = texts(caption(lake, profile))
        kept = sorted(lake.caption_answers().rglob("*.json"))
        for path, damage in zip(kept, ("", "[]", json.dumps({"text": ""}), json.dumps({"text": 5, "prompt_tokens": 0, "answer_tokens": 0})), strict=False):
            path.write_text(damage)
        shutil.rmtree(lake.drop_stage("toy", "captions", profile.data_fingerprint))
        assert texts(caption(lake, profile)) == before and len(server.asked) == CLIPS + 4


def test_wrong_settings_are_told_before_anything_is_sent(lake, tmp_path):
    with serving() as server:
        with pytest.raises(UserError, match="key_variable names TOY_KEY, which is not set"):
            caption(lake, asking(server, key_variable="TOY_KEY"))
        for url, words in (("ftp://host/v1", "no http"), ("http://user:pw@host/v1", "holds a user"), ("http://host:99999/v1", "no http")):
            with pytest.raises(UserError, match=words):
                caption(lake, asking(url))
        with pytest.raises(UserError, match="the key for captions.vlm"):
            caption(lake, asking(server), KEY + "\n")
        with pytest.raises(UserError, match="'nowhere' cannot be read .* one of rubric"):
            caption(lake, asking(server, prompt="nowhere"))
        assert not server.asked
    nano = yaml.safe_load((ROOT / "cosmos_ops/profiles/nano.yaml").read_text())
    for captions, words in (
        ({"captioner": "vlm"}, "captions.vlm.base_url and captions.vlm.model are needed"),
        ({"captioner": "vlm", "vlm": {"base_url": "http://h/v1", "model": "m", "workers": 0}}, "workers.* must be positive"),
        ({"captioner": "combined", "template": "{task} {vlm}"}, "are needed"),
        ({"telemetry": {"joint_unit": "turns"}}, "use rad or deg"),
        ({"telemetry": {"axes": ["forward"]}}, "axes needs three of"),
    ):
        path = tmp_path / "bad.yaml"
        path.write_text(yaml.safe_dump(nano | {"captions": captions}))
        with pytest.raises(UserError, match=words):
            load_profile(str(path))


def test_a_task_that_looks_like_a_field_stays_as_it_is():
    clip = {"task": "show the $camera", "robot": "arm", "camera": "front", "frame_times_s": [0.0] * 8, "fps": 8.0}
    assert filled("$task; $robot, $camera, $seconds s, $frames, $other", clip, 4) == "show the $camera; arm, front, 1.0 s, 4, $other"


def test_a_prompt_of_one_s_own_lies_beside_its_profile(tmp_path, monkeypatch):
    (tmp_path / "mine.txt").write_text("Say what happens.")
    nano = yaml.safe_load((ROOT / "cosmos_ops/profiles/nano.yaml").read_text())
    (tmp_path / "mine.yaml").write_text(
        yaml.safe_dump(nano | {"captions": {"captioner": "vlm", "vlm": {"base_url": "http://h/v1", "model": "m", "prompt": "mine.txt"}}})
    )
    found = {load_profile(str(tmp_path / "mine.yaml")).data_fingerprint}
    monkeypatch.chdir(tmp_path)
    found.add(load_profile("mine.yaml").data_fingerprint)
    assert len(found) == 1
    (tmp_path / "mine.txt").write_text("Say it in other words.")
    assert load_profile("mine.yaml").data_fingerprint not in found


def test_settings_of_captioners_that_are_not_used_change_no_fingerprint():
    plain = small_profile()
    vlm = VlmSettings(base_url="http://h/v1", model="m")
    assert replace(plain, captions=replace(plain.captions, vlm=vlm)).data_fingerprint == plain.data_fingerprint
    combined = replace(plain, captions=replace(plain.captions, captioner="combined", template="{task} {telemetry}"))
    assert replace(combined, captions=replace(combined.captions, vlm=vlm)).data_fingerprint == combined.data_fingerprint != plain.data_fingerprint
    assert load_profile("nano").captions.produced_by() == {"captioner": "task", "template": "{task}", "max_tokens": 64}


def test_refusals_are_told_from_captions():
    for text in (
        "I'm sorry, but I can't assist with that.",
        "I’m sorry – no.",
        "As an AI language model, I see a robot.",
        "The robot moves. I cannot see the gripper, as an AI.",
        "I cannot describe these images.",
        "Unfortunately, I am not able to help.",
        "No images were provided.",
        "Please upload the image.",
        "I am unable to see it",
    ):
        assert is_refusal(text), text
    for text in (
        "The robot cannot reach the cup and stops.",
        "put the sorry-looking banana on the plate",
        "A robot arm lifts a can. It can rotate.",
        "The arm places the 'AI' mug on the tray.",
        "pick up the picture frame and the image of a cat",
    ):
        assert not is_refusal(text), text
