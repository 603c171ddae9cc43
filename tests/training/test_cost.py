"""What a training cost: by hand."""

import pytest

from cosmos_ops.training.cost import GPU_WATTS, gpu_watts, training_cost


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A machine whose `nvidia-smi` is the given program, or has none."""

    def install(script: str | None) -> None:
        if script is not None:
            (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return install


def test_eight_gpus_for_an_hour(driver):
    driver('test "$3" = -i && test "$4" = 0 && echo 700.00')
    cost = training_cost(3600, 8, "cuda", 16, 0.25)
    assert cost == {"wall_seconds": 3600, "gpu_seconds": 28800, "watts": 5600, "energy_kwh": 5.6, "dollars_per_kwh": 0.25, "dollars": 1.4}


@pytest.mark.parametrize("script", [None, "echo '[N/A]'", "echo no driver >&2; exit 9"])
def test_a_driver_that_does_not_say_leaves_the_assumption(driver, script):
    driver(script)
    assert gpu_watts("cuda:1") == GPU_WATTS


def test_a_cpu_is_counted_by_its_threads():
    cost = training_cost(1800, 1, "cpu", 2, 0.2)
    assert (cost["gpu_seconds"], cost["watts"], cost["energy_kwh"], cost["dollars"]) == (0, 20, 0.01, 0.002)
