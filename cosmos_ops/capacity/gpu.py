"""The 2B model on a GPU: from published times, with the bound that counting floating-point operations gives. Nothing of this was measured here."""

from dataclasses import dataclass

from cosmos_ops.capacity.costs import Published
from cosmos_ops.capacity.demand import Work
from cosmos_ops.capacity.estimate import NOT_MEASURED, Stage
from cosmos_ops.errors import UserError
from cosmos_ops.profiles import ClipGeometry

REFERENCE = "h100"
"""The kind that the published times are of."""


@dataclass(frozen=True)
class Gpus:
    """So many of one kind; `facts` and `peaks` as `costs.read_published` gives them."""

    count: int
    kind: str
    facts: dict[str, Published]
    peaks: dict[str, float]

    def __post_init__(self):
        if self.kind not in self.peaks:
            raise UserError(f"--gpu-kind {self.kind!r} is not known; there are {', '.join(sorted(self.peaks))}")

    def fact(self, name: str) -> float:
        return self.facts[name].value

    @property
    def peak_pflop_s(self) -> float:
        """Dense bfloat16 peak of one GPU, PFLOP/s."""
        return self.peaks[self.kind] / 1000

    @property
    def share(self) -> float:
        """Share of its peak that the published training reached: what it executed, in the time that encoding left."""
        seconds = self.fact("train_sample_s") * (1 - self.fact("encode_share"))
        return self.fact("step_executed_pflop") / seconds / (self.peaks[REFERENCE] / 1000)

    @property
    def speedup(self) -> float:
        """Of all GPUs over one, training one model: the published 6.8 on eight, on the curve n / (1 + c (n - 1))."""
        eight = self.fact("eight_gpu_speedup")
        lost = (8 / eight - 1) / 7
        return self.count / (1 + lost * (self.count - 1))

    def stages(self, work: Work, clip: ClipGeometry) -> list[Stage]:
        """Latents, training and generation."""
        slower = self.peaks[REFERENCE] / self.peaks[self.kind]
        size, forward_pflop = self._size(clip)
        more = forward_pflop / self.fact("forward_pflop")
        encode_s = self.fact("train_sample_s") * self.fact("encode_share") * slower * size
        samples, passes = sum(work.samples.values()), work.videos * work.passes
        step_s = self.fact("train_sample_s") * slower * more
        least_step_s = self.fact("step_pflop") * more / self.peak_pflop_s
        pass_s, least_pass_s = forward_pflop / (self.peak_pflop_s * self.share), forward_pflop / self.peak_pflop_s
        latent_bytes = work.clips * (_latent_bytes(clip) + _TEXT_BYTES)
        adapter_bytes = sum(2 * 4 * self.fact("adapter_parameters_rank_32") * rank / 32 for rank in work.rank.values())
        published = f"published, {REFERENCE}" + ("" if self.kind == REFERENCE else f"; to {self.kind} by peak")
        reached = f"counted operations at {self.share:.0%} of peak, as the published training reached"
        return [
            self._stage("latents", work.clips * encode_s, self.count, f"{published}: upper estimate", None, latent_bytes),
            self._stage(
                "training", samples * step_s, self.speedup, f"{published}: encoding in every step, so an upper bound", samples * least_step_s, adapter_bytes
            ),
            self._stage("generation", passes * pass_s, self.count, reached, passes * least_pass_s),
        ]

    def _stage(self, name: str, gpu_s: float, speedup: float, note: str, least_gpu_s: float | None, stored_bytes: float = 0.0) -> Stage:
        wall_s = gpu_s / speedup
        bound_s = None if least_gpu_s is None else least_gpu_s / self.count
        # All GPUs are taken for as long as the stage lasts.
        return Stage(name, wall_s, wall_s, wall_s * self.count, stored_bytes, NOT_MEASURED, bound_s, note)

    def _size(self, clip: ClipGeometry) -> tuple[float, float]:
        """Tokens of a clip over those of the published geometry, and the PFLOP of one pass of the denoiser: attention grows with their square."""
        tokens = (1 + (clip.frames - 1) // 4) * (clip.height // 16) * (clip.width // 16)
        size = tokens / self.fact("reference_tokens")
        attention = self.fact("forward_attention_pflop")
        return size, attention * size**2 + (self.fact("forward_pflop") - attention) * size


_TEXT_BYTES = 512 * 1024 * 2
"""A caption after the projection, in bfloat16."""


def _latent_bytes(clip: ClipGeometry) -> int:
    return 16 * (1 + (clip.frames - 1) // 4) * (clip.height // 8) * (clip.width // 8) * 2
