"""The accelerators of a Ray cluster: this machine, which only shares out the work, may have none."""

from assets.resources.gpu import GpuResource
from assets.resources.ray_cluster import connect, has


class RayGpuResource(GpuResource):
    """Which device tasks and training jobs use on their nodes. GPUs of a cluster are taken to be of one kind."""

    address: str

    def device(self) -> str:
        """`cuda` where any node has a GPU, unless a device was named; it is the device as the node calls it."""
        if self.device_name != "auto":
            return self.device_name
        return "cuda" if has(self.address, "GPU") else "cpu"

    def devices(self) -> tuple[str, ...]:
        """One: batches are shared out by the cluster, each with a device of its own."""
        return (self.device(),)

    def memory_gb(self) -> float | None:
        """Size of a node's GPU in GB, asked of one of them; None on CPUs."""
        if not self.device().startswith("cuda"):
            return None
        connect(self.address)
        import ray

        return ray.get(ray.remote(_memory_gb).options(num_gpus=1, num_cpus=0).remote())


def _memory_gb() -> float:
    import torch

    return torch.cuda.get_device_properties(0).total_memory / 1e9
