"""The accelerator of this machine, CPU where there is none."""

import dagster as dg

POOL = "gpu"
"""Dagster pool with one slot: whatever needs the device takes it."""


class GpuResource(dg.ConfigurableResource):
    """Which device model work runs on and in which precision."""

    device_name: str = "auto"
    """`auto`, `cuda`, `cuda:1`, `cpu`."""
    precision_name: str = "auto"
    """`auto` (the profile's dtype on an accelerator, float32 on a CPU), `float32` or `bfloat16`."""

    def device(self) -> str:
        """The torch device to use."""
        if self.device_name != "auto":
            return self.device_name
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def devices(self) -> tuple[str, ...]:
        """All devices for work that can be shared: every visible GPU, unless one of them was named."""
        device = self.device()
        if device != "cuda":
            return (device,)
        import torch

        return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count())) or (device,)

    def memory_gb(self) -> float | None:
        """Size of that device in GB, which training plans its memory by; None on a CPU."""
        device = self.device()
        if not device.startswith("cuda"):
            return None
        import torch

        return torch.cuda.get_device_properties(torch.device(device)).total_memory / 1e9
