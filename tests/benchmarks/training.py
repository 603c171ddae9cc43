"""Training speed: adapters from cached latents against a plain step that encodes video and text on the fly, in one run.

    python tests/benchmarks/training.py [--quick] [--json]

The opponent is described in `plain_step.py`. Both train the nano model at its profile's geometry on the same mp4 files, batches of one, in float32 on
all cores: whole jobs of ten epochs, loading of the weights included for both and encoding of the latents for ours. Contenders take turns;
medians are compared. `dora_over_lora_step` compares optimizer updates alone (rank 8 at nano), and so do the lines that say what each optimisation
brings: the update without it over the update with it, all others in place. On a CUDA device the 2B geometry follows, from
random weights (`training_2b.py`).

With `--json` the last line of stdout is one object: `machine`, `rows`, `ratios`.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch  # noqa: E402

from cosmos_ops.base_models import load_world_model  # noqa: E402
from cosmos_ops.base_models.cosmos import load_pipeline  # noqa: E402
from cosmos_ops.base_models.latent_store import LatentStore  # noqa: E402
from cosmos_ops.base_models.latents import encode_latents  # noqa: E402
from cosmos_ops.lake import Lake  # noqa: E402
from cosmos_ops.profiles import load_profile  # noqa: E402
from cosmos_ops.recipes import resolve_recipe  # noqa: E402
from cosmos_ops.shards.read import read_clip  # noqa: E402
from cosmos_ops.training.data import Sample, Samples  # noqa: E402
from cosmos_ops.training.loop import Trainer  # noqa: E402
from cosmos_ops.video.encode import encode_mp4  # noqa: E402
from tests.base_models.lake_factory import add_dataset, add_shard  # noqa: E402
from tests.benchmarks.plain_step import PlainTrainer  # noqa: E402
from tests.benchmarks.without import modulate_by_token, pefts_dora  # noqa: E402

EPOCHS = 10
METHODS = ("lora", "dora")
BY_TOKEN, RECOMPUTED, PEFTS = "lora, modulated by token", "lora, everything recomputed", "dora, PEFT's own modules"
TURNS = 30
"""Updates of each contender when updates alone are compared, one by one in turns: a slow moment of the machine hits all."""


class Nano:
    """One lake of synthetic clips, and jobs of ten epochs on it."""

    def __init__(self, folder: Path, clips: int):
        self.folder, self.profile = folder, load_profile("nano")
        clip = self.profile.clip
        self.lake = Lake(folder / "lake")
        self.rows = add_shard(self.lake, "bench", clips, 0, (clip.frames, clip.height, clip.width))
        self.version = add_dataset(self.lake, self.rows)
        load_world_model(self.profile.base_model, self.lake.models(), "cpu", ("denoiser",))  # builds the weights where the package brings none
        self.files = folder / "videos"
        self.files.mkdir()
        for row in self.rows:
            with open(self.files / f"{row['clip_id']}.mp4", "wb") as stream:
                encode_mp4(read_clip(self.lake, row["shard_path"], row["key"]).frames, 8.0, stream)
        self.samples = Samples(tuple(Sample(row["clip_id"], row["caption"]) for row in self.rows), ())
        self.steps: dict[str, list[float]] = {}
        """Seconds of the opponent's updates."""

    def plain(self, method: str, recompute: bool = True, epochs: int = EPOCHS) -> float:
        """Seconds of the opponent's whole job."""
        started = time.perf_counter()
        pipeline = load_pipeline(self.profile.base_model, self.lake.models())
        tokens = pipeline.tokenizer.model_max_length
        trainer = PlainTrainer(pipeline, tokens, (self.profile.clip.height, self.profile.clip.width), method, 8, recompute)
        torch.manual_seed(0)
        for _ in range(epochs):
            for number in torch.randperm(len(self.rows)).tolist():
                begun = time.perf_counter()
                trainer.step(self.files / f"{self.rows[number]['clip_id']}.mp4", self.rows[number]["caption"])
                self.steps.setdefault("plain" if recompute else "plain, no recompute", []).append(time.perf_counter() - begun)
        return time.perf_counter() - started

    def cache(self) -> float:
        """Seconds to encode every clip and caption from nothing."""
        shutil.rmtree(self.lake.root / "latents", ignore_errors=True)
        started = time.perf_counter()
        self.latents = encode_latents(self.lake, self.version, self.profile)
        return time.perf_counter() - started

    def ours(self, method: str) -> float:
        """Seconds of our job on the encoded latents: loading, guards, updates and the last checkpoint."""
        started = time.perf_counter()
        self._trainer(method, EPOCHS * len(self.rows)).train(lambda seen: None, lambda: False)
        return time.perf_counter() - started

    def updates(self) -> dict[str, list[float]]:
        """Seconds of single updates of LoRA and DoRA, and of either without one optimisation, taking turns."""
        trainers = {method: self._trainer(method, TURNS) for method in METHODS}
        trainers[BY_TOKEN] = self._trainer("lora", TURNS)
        modulate_by_token(trainers[BY_TOKEN].model.denoiser)
        trainers[RECOMPUTED] = self._trainer("lora", TURNS, recompute=True)
        with pefts_dora():
            trainers[PEFTS] = self._trainer("dora", TURNS)
        return in_turns({name: lambda report, trainer=trainer: trainer.train(report, lambda: False) for name, trainer in trainers.items()})

    def _trainer(self, method: str, steps: int, recompute: bool = False) -> Trainer:
        recipe = resolve_recipe(f"{method}-r8", self.profile)
        recipe = replace(recipe, batch_size=1, steps=steps, checkpoint_minutes=1e6, gradient_checkpointing=recompute)
        model = load_world_model(self.profile.base_model, self.lake.models(), "cpu", ("denoiser",))
        work = Path(tempfile.mkdtemp(dir=self.folder))
        return Trainer(model, LatentStore(self.lake, self.latents), self.samples, recipe, work)


def in_turns(jobs: dict[str, Callable[[Callable], object]]) -> dict[str, list[float]]:
    """Run jobs of equally many updates so that each does one update and passes on; seconds of each update but the first.

    A job is called with what it must report each update to, and once before the first.
    """
    names = list(jobs)
    gates = [threading.Semaphore(0) for _ in names]
    seconds: dict[str, list[float]] = {name: [] for name in names}

    def run(number: int) -> None:
        begun = 0.0

        def report(seen) -> None:
            nonlocal begun
            if seen.step > 1:  # the first update carries what is set up once
                seconds[names[number]].append(time.perf_counter() - begun)
            gates[(number + 1) % len(names)].release()
            gates[number].acquire()
            begun = time.perf_counter()

        gates[number].acquire()
        try:
            jobs[names[number]](report)
        finally:
            gates[(number + 1) % len(names)].release()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(names))]
    for thread in threads:
        thread.start()
    gates[0].release()
    for thread in threads:
        thread.join()
    return seconds


def nano_rows(clips: int, rounds: int, say: Callable[[str], None]) -> tuple[list[dict], dict[str, float]]:
    """Measure at nano; rows and ratios."""
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Nano(Path(folder), clips)
        for number in range(rounds):
            turns = {"plain": lambda: bench.plain("lora"), "caching": bench.cache, "lora": lambda: bench.ours("lora"), "dora": lambda: bench.ours("dora")}
            for name, measure in turns.items():
                seconds.setdefault(name, []).append(measure())
            say(f"round {number + 1} of {rounds}: " + ", ".join(f"{name} {values[-1]:.1f} s" for name, values in seconds.items()))
        updates = bench.updates()
        bench.plain("lora", recompute=False, epochs=2)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    samples = EPOCHS * clips
    pace = {"plain": samples / middle["plain"], **{method: samples / (middle["caching"] + middle[method]) for method in METHODS}}
    rows = [row(f"nano: {name}, ten epochs, all included", value, "samples/s") for name, value in pace.items()]
    rows += [row("nano: encoding the latents, once", middle["caching"], "s")]
    rows += [row(f"nano: {name}, one update", statistics.median(values), "s") for name, values in (bench.steps | updates).items()]
    rows += [row(f"nano: {name}", value, "x") for name, value in brought(bench.steps, updates).items()]
    return rows, {"nano_cpu_samples_per_s": pace["lora"] / pace["plain"], "dora_over_lora_step": over(updates["dora"], updates["lora"])}


def brought(plain: dict[str, list[float]], updates: dict[str, list[float]]) -> dict[str, float]:
    """How many times faster an update is by each optimisation alone, the others being in place."""
    without = statistics.median(plain["plain, no recompute"]) / statistics.median(updates["lora"])
    return {
        "brought by latents and text from the cache (and the data path)": without,
        "brought by keeping activations": over(updates[RECOMPUTED], updates["lora"]),
        "brought by modulation by frame": over(updates[BY_TOKEN], updates["lora"]),
        "brought by low-rank DoRA norms": over(updates[PEFTS], updates["dora"]),
    }


def over(slow: list[float], fast: list[float]) -> float:
    """Median ratio of updates that took turns."""
    return statistics.median(left / right for left, right in zip(slow, fast, strict=True))


def row(name: str, value: float, unit: str) -> dict:
    return {"name": name, "value": round(value, 5), "unit": unit}


def machine() -> dict:
    """What this ran on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": device,
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round on fewer clips")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of stdout")
    options = parser.parse_args()

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    rows, ratios = nano_rows(2 if options.quick else 6, 1 if options.quick else 3, say)
    if torch.cuda.is_available():
        from tests.benchmarks.training_2b import rows_2b

        more, faster = rows_2b(3 if options.quick else 10, say)
        rows, ratios = rows + more, ratios | faster
    width = max(len(entry["name"]) for entry in rows)
    for entry in rows:
        print(f"{entry['name']:<{width}}  {entry['value']:>12.5g} {entry['unit']}")
    for name, value in ratios.items():
        print(f"{name:<{width}}  {value:>12.3f}")
    if options.json:
        print(json.dumps({"machine": machine(), "rows": rows, "ratios": {name: round(value, 4) for name, value in ratios.items()}}))


if __name__ == "__main__":
    main()
