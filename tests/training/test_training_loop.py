"""The loop on a tiny world: it learns, it resumes exactly from any step, it keeps the best weights, and its guards speak."""

import dataclasses
import json

import pytest
import torch

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.training.adapters import adapter_state
from cosmos_ops.training.checkpoint import FOLDER
from cosmos_ops.training.journal import read_log
from cosmos_ops.training.loop import Interrupted, Trainer
from cosmos_ops.training.validation import Validation
from tests.training.tiny_world import MemoryLatents, TinyWorld, tiny_recipe


def trainer(folder, recipe, latents=None, validation=2, **kwargs) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    latents = latents or MemoryLatents()
    return Trainer(TinyWorld(), latents, latents.samples(validation), recipe, folder, **kwargs)


def run(made: Trainer, stop_at: int | None = None):
    """Train until `stop_at` updates are done; returns the state, or None where it was interrupted."""
    reports = []
    try:
        state = made.train(reports.append, lambda: stop_at is not None and made.state.step >= stop_at)
    except Interrupted:
        state = None
    made.reports = reports
    return state


def weights(made: Trainer) -> dict[str, torch.Tensor]:
    return adapter_state(made.model.denoiser)


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def timeless(values: dict) -> dict:
    return {name: value for name, value in values.items() if name not in ("seconds", "step_seconds")}


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_it_learns(tmp_path, method):
    made = trainer(tmp_path, tiny_recipe(method=method, steps=60, text_dropout=0.0))
    state = run(made)
    assert state.best_loss < 0.8 * state.start_loss
    rows = read_log(tmp_path)
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 61))
    assert [row["step"] for row in rows if "validation_loss" in row] == list(range(0, 61, 4))
    assert state.position == 120
    assert made.reports[0].step == 0 and made.reports[-1].step == 60 and made.reports[-1].eta_s == 0
    assert made.reports[-1].loss < made.reports[2].loss


@pytest.mark.parametrize(
    "settings", [{"ema_decay": 0.9}, {"method": "dora", "gradient_accumulation": 2}, {"dropout": 0.3, "checkpoint_minutes": 0.0, "rslora": True}]
)
@pytest.mark.parametrize("stop_at", [0, 4, 11])
def test_resuming_changes_no_bit(tmp_path, settings, stop_at):
    recipe = dataclasses.replace(tiny_recipe(), **settings)
    straight = trainer(tmp_path / "straight", recipe)
    wanted = run(straight)
    broken = trainer(tmp_path / "broken", recipe)
    assert run(broken, stop_at) is None
    resumed = trainer(tmp_path / "broken", recipe)
    state = run(resumed)
    assert resumed.reports[0].step == stop_at
    assert same(weights(resumed), weights(straight))
    times = ("seconds", "step_seconds")
    assert {name: value for name, value in vars(state).items() if name not in times} == {
        name: value for name, value in vars(wanted).items() if name not in times
    }
    logs = [[{name: value for name, value in row.items() if name != "seconds"} for row in read_log(tmp_path / name)] for name in ("straight", "broken")]
    assert logs[0] == logs[1]


def test_a_crash_between_checkpoints_is_replayed(tmp_path):
    recipe = tiny_recipe(steps=15)
    straight = trainer(tmp_path / "straight", recipe)
    run(straight)

    class Crash(Exception):
        pass

    crashing = trainer(tmp_path / "broken", recipe)

    def report(seen):
        if seen.step == 11:
            raise Crash

    with pytest.raises(Crash):
        crashing.train(report, lambda: False)
    with open(tmp_path / "broken/log.jsonl", "a") as stream:
        stream.write('{"step": 12, "lo')  # the line a kill cut short
    resumed = trainer(tmp_path / "broken", recipe)
    run(resumed)
    assert resumed.reports[0].step in (4, 8)  # a validation that improved wrote the checkpoint
    assert same(weights(resumed), weights(straight))
    assert [row["step"] for row in read_log(tmp_path / "broken") if "loss" in row] == list(range(1, 16))


def test_two_batches_accumulated_are_one_batch_of_both(tmp_path):
    whole = trainer(tmp_path / "whole", tiny_recipe(steps=3, batch_size=4))
    parts = trainer(tmp_path / "parts", dataclasses.replace(tiny_recipe(steps=3, gradient_accumulation=2), batch_size=2))
    assert run(whole).position == run(parts).position == 12
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], tensor, rtol=1e-4, atol=1e-6)


def test_the_best_weights_are_kept_not_the_last(tmp_path):
    latents = MemoryLatents()
    made = trainer(tmp_path, tiny_recipe(steps=40, patience=2), latents)
    original, calls = made.validation.loss, []

    def worse_from_the_third():
        # Stands for over-fitting, which a model this small does not do on cue.
        result = original()
        calls.append({name: tensor.clone() for name, tensor in weights(made).items()})
        return result if len(calls) <= 3 else dataclasses.replace(result, mean=result.mean + 10)

    made.validation.loss = worse_from_the_third
    state = run(made)
    assert (state.best_step, state.step) == (8, 16), "stopped after two validations without a better one"
    assert same(weights(made), calls[2])
    assert not same(weights(made), calls[-1])
    assert len(list((tmp_path / FOLDER).glob("best-*"))) == 1


def test_validation_repeats_itself_and_does_not_depend_on_the_recipes_seed():
    latents, model = MemoryLatents(), TinyWorld()
    losses = [Validation(model, latents, latents.samples().validation, tiny_recipe(seed=seed)).loss() for seed in (0, 0, 5)]
    assert losses[0] == losses[1] == losses[2]
    assert len(losses[0].by_sigma) == 4


def test_without_validation_clips_the_last_weights_are_kept(tmp_path):
    made = trainer(tmp_path, tiny_recipe(), validation=0)
    state = run(made)
    assert (state.start_loss, state.best_step, state.validation_loss) == (None, None, None)
    assert any("no validation clips" in row.get("warning", "") for row in read_log(tmp_path))


@pytest.mark.parametrize("validation", [0, 2])
def test_a_base_model_that_knows_nothing_is_told(tmp_path, validation):
    made = trainer(tmp_path, tiny_recipe(steps=1), validation=validation)
    run(made)
    assert any("is it untrained?" in row.get("warning", "") for row in read_log(tmp_path))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_clip_is_named_and_nothing_is_updated(tmp_path, bad):
    latents = MemoryLatents()
    made = trainer(tmp_path, tiny_recipe(), latents)
    victim = made.samples.train[made.order[5]].clip_id
    latents.clips[victim][0, 2, 0, 0] = bad
    with pytest.raises(WorkFailed, match=rf"the loss is (nan|inf) at step 3 with clips .*{victim}"):
        made.train(lambda report: None, lambda: False)
    assert all(torch.isfinite(tensor).all() for tensor in weights(made).values())


def test_an_adapter_that_no_gradient_reaches_is_refused(tmp_path):
    made = trainer(tmp_path, tiny_recipe())
    with torch.no_grad():
        made.parameters["blocks.0.to_q.lora_A.default.weight"].zero_()
    with pytest.raises(WorkFailed, match=r"no gradient reaches the adapter on blocks.0.to_q;"):
        made.train(lambda report: None, lambda: False)


def test_the_clips_of_a_bad_update_are_kept_in_a_file(tmp_path):
    latents = MemoryLatents()
    made = trainer(tmp_path, tiny_recipe(), latents)
    victim = made.samples.train[made.order[0]].clip_id
    latents.clips[victim][0, 2, 0, 0] = float("inf")
    made._begin = lambda: None  # the guard before the first update would see it too
    with pytest.raises(WorkFailed, match="the loss is"):
        made.train(lambda report: None, lambda: False)
    dump = json.loads((tmp_path / "bad-batch-0.json").read_text())
    assert victim in dump["clip_ids"] and dump["step"] == 1


def with_a_spike(made: Trainer, steps: range) -> Trainer:
    """The gradients of these updates are a thousand times what they should be."""
    backward = made._backward

    def spoilt():
        result = backward()
        if made.state.step + 1 in steps:
            for parameter in made.parameters.values():
                parameter.grad *= 1000
        return result

    made._backward = spoilt
    return made


def test_an_update_with_a_gradient_spike_is_skipped_and_told(tmp_path):
    recipe = tiny_recipe(steps=30, validate_every=30)
    made = with_a_spike(trainer(tmp_path / "whole", recipe), range(26, 28))
    state = run(made)
    assert (state.step, state.skipped, state.skipped_in_a_row) == (30, 2, 0)
    warnings = [row["warning"] for row in read_log(tmp_path / "whole") if "skipped" in row.get("warning", "")]
    assert len(warnings) == 2 and "clip" in warnings[0]
    assert run(with_a_spike(trainer(tmp_path / "broken", recipe), range(26, 28)), stop_at=28) is None
    resumed = with_a_spike(trainer(tmp_path / "broken", recipe), range(0))
    assert run(resumed).skipped == 2
    assert same(weights(resumed), weights(made)), "the optimizer's own count of updates survives"


def test_spikes_without_end_are_divergence(tmp_path):
    with pytest.raises(WorkFailed, match="5 updates in a row, up to step 27, .* lower learning_rate"):
        with_a_spike(trainer(tmp_path, tiny_recipe(steps=40, validate_every=40)), range(23, 40)).train(lambda report: None, lambda: False)


def test_the_average_of_the_weights_is_what_is_kept(tmp_path):
    recipe = tiny_recipe(steps=10, ema_decay=0.9, validate_every=10)
    made = trainer(tmp_path, recipe)
    seen = []
    step = made.optimizer.step

    def watched():
        step()
        seen.append({name: parameter.detach().clone() for name, parameter in made.parameters.items()})

    start = {name: parameter.detach().clone() for name, parameter in made.parameters.items()}
    made.optimizer.step = watched
    state = run(made)
    assert state.best_step == 10
    for name, average in start.items():
        for update, after in enumerate(seen, start=1):
            decay = min(0.9, (1 + update) / (10 + update))
            average = decay * average + (1 - decay) * after[name]
        torch.testing.assert_close(made.parameters[name].detach(), average)
        assert not torch.equal(average, seen[-1][name])


def test_an_optimizer_that_holds_other_weights_is_found_out(tmp_path):
    made = trainer(tmp_path, tiny_recipe())
    made.optimizer.step = lambda: None
    with pytest.raises(WorkFailed, match=r"the first update left .*lora_B.* at zero"):
        made.train(lambda report: None, lambda: False)


def test_an_adapter_that_does_not_start_as_the_identity_is_refused(tmp_path):
    made = trainer(tmp_path, tiny_recipe())
    with torch.no_grad():
        made.parameters["outward.lora_B.default.weight"].fill_(0.1)
    with pytest.raises(WorkFailed, match="a fresh adapter changes the base model's output"):
        made.train(lambda report: None, lambda: False)


@pytest.mark.parametrize("damage", ["truncated", "other adapter"])
def test_a_checkpoint_that_cannot_be_continued_says_what_to_remove(tmp_path, damage):
    run(trainer(tmp_path, tiny_recipe()), stop_at=5)
    recipe = tiny_recipe()
    if damage == "truncated":
        for path in (tmp_path / FOLDER).glob("state-*"):
            path.write_bytes(path.read_bytes()[:-50])
    else:
        recipe = tiny_recipe(targets=("to_q",))
    with pytest.raises(WorkFailed, match=rf"remove {tmp_path / FOLDER}, training starts again"):
        run(trainer(tmp_path, recipe))


@pytest.mark.parametrize("damage", ["one bit", "truncated", "no best weights"])
def test_where_the_newest_checkpoint_is_damaged_the_one_before_is_taken(tmp_path, damage):
    recipe = tiny_recipe(steps=10, checkpoint_minutes=0.0, checkpoints_kept=3)
    straight = trainer(tmp_path / "straight", recipe)
    run(straight)
    stopped = trainer(tmp_path / "broken", recipe)
    run(stopped, stop_at=8)
    folder = tmp_path / "broken" / FOLDER
    assert sorted(path.name for path in folder.glob("state-*")) == [f"state-{step:08d}.safetensors" for step in (6, 7, 8)]
    assert stopped.state.best_step == 8, "the older two name the best weights of step 4"
    assert sorted(path.name for path in folder.glob("best-*")) == ["best-4.safetensors", "best-8.safetensors"]
    content = bytearray((folder / "state-00000008.safetensors").read_bytes())
    content[-1] ^= 1
    if damage == "no best weights":
        (folder / "best-8.safetensors").unlink()
    else:
        (folder / "state-00000008.safetensors").write_bytes(content if damage == "one bit" else content[:-50])
    resumed = trainer(tmp_path / "broken", recipe)
    run(resumed)
    assert resumed.reports[0].step == 7
    assert same(weights(resumed), weights(straight))
    warnings = [row["warning"] for row in read_log(tmp_path / "broken") if "warning" in row]
    assert "damaged checkpoint" in warnings[-1] and "went on from the checkpoint before" in warnings[-1]
    assert len(list(folder.glob("state-*"))) == 3


def test_gradient_checkpointing_is_refused_where_the_model_has_none(tmp_path):
    with pytest.raises(UserError, match="leave gradient_checkpointing out"):
        trainer(tmp_path, tiny_recipe(gradient_checkpointing=True))


def test_gradients_flow_where_they_were_switched_off_for_good(tmp_path):
    torch.set_grad_enabled(False)  # as loading the reference pipeline does
    try:
        assert run(trainer(tmp_path, tiny_recipe(steps=2))).step == 2
        assert not torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(True)


def test_the_log_is_plain_json(tmp_path):
    run(trainer(tmp_path, tiny_recipe(steps=4)))
    first = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert set(first) == {"step", "validation_loss", "by_sigma", "seconds"}
