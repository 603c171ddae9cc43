"""The accelerator of a cluster's pods: the step that shares out the work may have none."""

from assets.resources.gpu import GpuResource


class PodGpuResource(GpuResource):
    """Which device pods use that ask for GPUs; each is given only its own."""

    gpus: int = 1

    def device(self) -> str:
        """`cuda` where pods ask for GPUs, unless a device was named."""
        if self.device_name != "auto":
            return self.device_name
        return "cuda" if self.gpus else "cpu"

    def memory_gb(self) -> float | None:
        """Not known here: the trainer plans by the GPU that it finds."""
        return None
