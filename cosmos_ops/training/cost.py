"""What a training took in GPU time and, by estimate, in energy and money."""

import subprocess

CPU_WATTS_A_THREAD = 10.0
"""Of a server's processor at work, about 200 W for 20 threads."""
GPU_WATTS = 400.0
"""Where the driver does not say how much a card may draw."""


def training_cost(seconds: float, processes: int, device: str, threads: int, dollars_per_kwh: float) -> dict[str, float]:
    """`wall_seconds`, `gpu_seconds`, and the estimate: `watts` of all devices together, `energy_kwh`, `dollars`.

    The estimate is an upper one for GPUs, which are taken to draw their power limit all the time; host and cooling are not in it.
    """
    on_gpu = device.startswith("cuda")
    watts = processes * (gpu_watts(device) if on_gpu else CPU_WATTS_A_THREAD * threads)
    energy_kwh = watts * seconds / 3.6e6
    return {
        "wall_seconds": round(seconds, 3),
        "gpu_seconds": round(seconds * processes, 3) if on_gpu else 0.0,
        "watts": round(watts, 1),
        "energy_kwh": round(energy_kwh, 6),
        "dollars_per_kwh": dollars_per_kwh,
        "dollars": round(energy_kwh * dollars_per_kwh, 6),
    }


def gpu_watts(device: str) -> float:
    """The power limit of a CUDA device as its driver states it, else `GPU_WATTS`."""
    number = device.partition(":")[2] or "0"
    try:
        asked = ["nvidia-smi", "--query-gpu=power.limit", "--format=csv,noheader,nounits", "-i", number]
        return float(subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip())
    except (OSError, subprocess.SubprocessError, ValueError):
        return GPU_WATTS
