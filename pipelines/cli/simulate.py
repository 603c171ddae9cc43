"""`simulate`: a drop of teleoperation by a simulated robot, with faults that are known."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.cli.output import Output


def simulate(arguments, output: Output) -> dict[str, Any]:
    """Write the drop; one that was written with the same arguments is left as it is."""
    from cosmos_ops.simulate.drops import write_requested
    from cosmos_ops.simulate.request import drop_request

    request = drop_request(
        arguments.seed,
        arguments.episodes,
        arguments.format,
        {"none": False, "all": True}.get(arguments.faults, _names(arguments.faults)),
        arguments.robot,
        _names(arguments.cameras) if arguments.cameras is not None else None,
        arguments.height,
        arguments.width,
        arguments.raw_images,
    )
    unchanged = write_requested(arguments.path, request, output.progress)
    if unchanged:
        output.say(f"{arguments.path} is there and unchanged: nothing to do")
    else:
        output.say(f"{arguments.path}: {request.episodes} episodes of {request.robot} in {request.fmt}, {len(request.planted)} with a fault")
    if request.planted:
        output.table(
            ["episode", "camera", "fault", "detail"], [[item.episode_index, item.camera or "all", item.fault, item.detail] for item in request.planted]
        )
    return {
        "path": str(Path(arguments.path).absolute()),
        "robot": request.robot,
        "format": request.fmt,
        "seed": request.seed,
        "episodes": request.episodes,
        "planted": [asdict(item) for item in request.planted],
        "unchanged": unchanged,
    }


def choices() -> str:
    """What there is to choose from, for `--help`: robots with their cameras, formats with the faults they allow."""
    from cosmos_ops.simulate.faults import FORMATS
    from cosmos_ops.simulate.request import HEIGHT_PX, WIDTH_PX
    from cosmos_ops.simulate.robots import ROBOTS, simulator

    robots = [simulator(name) for name in ROBOTS]
    lines = ["robots and their cameras (the first two are recorded unless others are named):"]
    lines += [f"  {robot.name:<14}{', '.join(robot.cameras)}{'' if robot.renderer else '  (drawn: needs no OpenGL)'}" for robot in robots]
    lines += ["formats and the faults they allow:"]
    lines += [f"  {name:<14}{', '.join(faults)}" for name, faults in FORMATS.items()]
    lines += [
        f"pictures are {WIDTH_PX}x{HEIGHT_PX} unless --height or --width say otherwise; the faults that were planted are listed in OUT/meta/generator.json"
    ]
    return "\n".join(lines) + "\n"


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))
