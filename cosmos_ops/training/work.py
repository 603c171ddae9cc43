"""One training job from its config to a finished adapter folder."""

import contextlib
import errno
import importlib.metadata
import platform
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from cosmos_ops.base_models import WorldModel, load_world_model
from cosmos_ops.base_models.latent_store import LatentStore
from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.lake import Lake, Manifest, Output, read_manifest, resume_folder, write_json
from cosmos_ops.recipes import recipe_hash, recipe_to_json
from cosmos_ops.store.notes import mirror
from cosmos_ops.tensors import MAKE_ROOM
from cosmos_ops.training.adapters import save_adapter
from cosmos_ops.training.card import write_card
from cosmos_ops.training.checkpoint import FOLDER as CHECKPOINTS
from cosmos_ops.training.checkpoint import State
from cosmos_ops.training.config import TrainingConfig
from cosmos_ops.training.cost import training_cost
from cosmos_ops.training.data import Samples, read_samples
from cosmos_ops.training.journal import draw_losses, final_train_loss, read_log
from cosmos_ops.training.loop import Report, Trainer
from cosmos_ops.training.memory import MemoryPlan, device_memory_gb, plan_memory
from cosmos_ops.training.processes import Processes, process_group
from cosmos_ops.training.run import CODE_VERSION, STAGE

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LIBRARIES = ("torch", "peft", "diffusers", "transformers", "safetensors")


def train_adapter(
    config: TrainingConfig,
    report: Callable[[Report], None],
    stop: Callable[[], bool],
    processes: Processes = Processes(),  # noqa: B008
) -> Manifest:
    """Train, or continue, or find done: the adapter's manifest. Each of several processes calls it; the first alone writes.

    Raises `UserError` for a config that cannot be run, `WorkFailed` when training fails, `Interrupted` after saving on `stop()`.
    """
    folder = Path(config.output)
    config = replace(config, device=processes.device(config.device))
    with _threads(config.threads), process_group(processes, config.device), _full_disk(folder):
        if processes.first:
            begun = False

            def write(work: Path) -> Output:
                nonlocal begun
                begun = processes.from_first(True)
                return _train(config, work, report, stop, processes)

            resume_folder(folder, STAGE, config.key, write)
            if not begun:
                processes.from_first(False)
        elif processes.from_first(None):
            _train(config, folder, lambda seen: None, stop, processes)
        processes.from_first(None)  # until the manifest is there
    if processes.first:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        mirror(folder / CHECKPOINTS)
    return replace(read_manifest(folder), unchanged=processes.first and not begun)


def _train(config: TrainingConfig, folder: Path, report: Callable[[Report], None], stop: Callable[[], bool], processes: Processes) -> Output:
    lake = Lake(config.lake)
    samples = read_samples(lake, config.dataset_version, config.max_train_clips, config.recipe.validation_clips)
    latents = _latents(config, lake)
    model = _model(config)
    wanted = model.latent_shape(config.clip.frames, config.clip.height, config.clip.width)
    if not latents.folder.name.startswith(model.fingerprint):
        raise UserError(
            f"the latents in {latents.folder} were encoded under fingerprint {latents.folder.name} and this base model's is {model.fingerprint}; "
            "encode the latents with this profile"
        )
    found = tuple(latents.clip(samples.train[0].clip_id).shape)
    if found != tuple(wanted):
        raise UserError(f"latents are {found} and the profile's clips make {tuple(wanted)}; encode the latents with this profile")
    try:
        plan = plan_for_device(config)
        trainer = Trainer(model, latents, samples, config.recipe, folder, plan and plan.settings, processes)
        state = trainer.train(report, stop)
    except torch.OutOfMemoryError as error:
        raise WorkFailed(
            f"out of memory on {config.device} with batch_size {config.recipe.batch_size} ({str(error).splitlines()[0]}); lower batch_size and raise "
            "gradient_accumulation as much, or set gradient_checkpointing: true"
        ) from None
    if not processes.first:
        return Output("", 0)
    version = save_adapter(model.denoiser, folder, config.base_model.source, config.base_revision)
    write_json(folder / "recipe.json", recipe_to_json(config.recipe))
    draw_losses(read_log(folder), folder, f"{config.recipe.name} on dataset {config.dataset_version}")
    parameters = sum(parameter.numel() for parameter in trainer.parameters.values())
    meta = _meta(config, folder, samples, state, parameters, processes.world)
    meta["memory"] = plan.to_json() if plan is not None else asdict(trainer.memory)
    meta["attention"] = trainer.attention
    write_card(folder, meta, config)
    return Output(version, len(samples.train), meta)


def plan_for_device(config: TrainingConfig) -> MemoryPlan | None:
    """The memory plan for the GPU that training runs on, or of the size the job was prepared for; None on a CPU."""
    size = config.gpu_memory_gb or device_memory_gb(config.device)
    return None if size is None else plan_memory(config.base_model, config.clip, config.recipe, size)


@contextlib.contextmanager
def _full_disk(folder: Path) -> Iterator[None]:
    """Say in one line what to do where a log or table no longer fits on the disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise WorkFailed(f"{folder} cannot be written ({error.strerror}); {MAKE_ROOM}") from None


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _latents(config: TrainingConfig, lake: Lake) -> LatentStore:
    manifest = read_manifest(Path(config.latents))
    if manifest is None:
        raise UserError(f"the latents are not there ({config.latents}); encode the dataset's latents first")
    if manifest.data_version != config.latents_version:
        raise UserError(f"the latents in {config.latents} changed since this job was prepared; prepare the training again")
    return LatentStore(lake, manifest)


def _model(config: TrainingConfig) -> WorldModel:
    spec = replace(config.base_model, dtype=config.precision)
    model = load_world_model(spec, Path(config.cache), config.device, parts=("denoiser",))
    if model.revision != config.base_revision:
        raise UserError(f"the base model's revision is {model.revision} and the job was prepared for {config.base_revision}; prepare the training again")
    return model


def _meta(config: TrainingConfig, folder: Path, samples: Samples, state: State, parameters: int, world: int) -> dict[str, Any]:
    rows, base = read_log(folder), config.base_model
    on_gpu = config.device.startswith("cuda")
    return {
        "dataset_version": config.dataset_version,
        "latents_version": config.latents_version,
        "recipe": recipe_to_json(config.recipe),
        "recipe_hash": recipe_hash(config.recipe),
        "base": {"family": base.family, "source": base.source, "revision": config.base_revision, "licence": base.licence},
        "steps": state.step,
        "kept_step": state.best_step or state.step,
        "samples": state.position,
        "skipped_updates": state.skipped,
        "train_clips": len(samples.train),
        "validation_clips": len(samples.validation),
        "train_loss": final_train_loss(rows),
        "validation_loss": {"start": state.start_loss, "best": state.best_loss, "final": state.validation_loss},
        "warnings": [row["warning"] for row in rows if "warning" in row],
        "parameters": parameters,
        "seconds": round(state.seconds, 3),
        "cost": training_cost(state.seconds, world, config.device, torch.get_num_threads(), config.dollars_per_kwh),
        "samples_per_s": round(state.position / state.step_seconds, 4),
        "peak_memory_bytes": {"host": _peak_host_bytes(), "device": torch.cuda.max_memory_allocated() if on_gpu else 0},
        "device": torch.cuda.get_device_name() if on_gpu else f"cpu ({torch.get_num_threads()} threads)",
        "processes": world,
        "precision": config.precision,
        "libraries": {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _LIBRARIES}},
        "code_version": CODE_VERSION,
    }


def _peak_host_bytes() -> int:
    """Largest resident size of this process; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
