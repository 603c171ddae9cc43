"""Commands and their options."""

import argparse

from pipelines.cli import adapters, capacity, data, demo, doctor, model, registry, simulate, verify


def build_parser() -> argparse.ArgumentParser:
    """The parser; each command sets `command`, a function of (arguments, output) that returns the JSON object."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON object as the last line of stdout")
    parser = argparse.ArgumentParser(prog="cosmos-ops", description="Robot teleoperation logs in, promoted adapters of a video world model out")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, function, description: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=description, description=description, parents=[shared])
        made.set_defaults(command=function)
        return made

    made = command("demo", demo.demo, "run the whole graph with the nano profile on built-in drops")
    made.add_argument("--retrain", action="store_true", help="carry out the retraining that the second drop makes due")

    made = command("inspect", data.inspect, "what a log folder or file is and what would become of it; writes nothing")
    made.add_argument("path", metavar="PATH", help="a folder, a file, or the URL of either")

    made = command("ingest", data.ingest, "register a drop and run the data half for it")
    made.add_argument("path", metavar="PATH", help="a folder, a file, or the URL of either (s3://, gs://, https://), which is copied into the lake")
    made.add_argument("--drop", metavar="NAME", help="name of the drop (default: the folder's name)")
    made.add_argument("--copy", action="store_true", help="copy the logs into the lake instead of reading them in place")
    made.add_argument("--allow-mixed", action="store_true", help="accept a drop of another robot than the lake's")

    made = command("simulate", simulate.simulate, "write a drop of a simulated robot's teleoperation, with known faults if asked for")
    made.add_argument("path", metavar="OUT", help="folder of the drop; one that was written with the same arguments is left as it is")
    made.add_argument("--robot", default="tabletop", metavar="R", help="(default: tabletop)")
    made.add_argument("--episodes", type=int, default=20, metavar="N", help="(default: 20)")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="equal seeds give equal drops (default: 0)")
    made.add_argument("--format", default="lerobot-v3.0", metavar="F", help="(default: lerobot-v3.0)")
    made.add_argument("--faults", default="none", metavar="none|all|NAME,NAME", help="faults to plant, one an episode; repeat a name to plant it again")
    made.add_argument("--cameras", metavar="NAME,NAME", help="cameras to record")
    made.add_argument("--height", type=int, metavar="PX")
    made.add_argument("--width", type=int, metavar="PX")
    made.add_argument("--raw-images", action="store_true", help="pictures without JPEG, in the formats that hold pictures")
    usage = made.format_help
    made.format_help = lambda: f"{usage()}\n{simulate.choices()}"  # the lists are looked up only when they are asked for

    for name, function, description in (
        ("train", model.train, "dataset, latents and adapters"),
        ("evaluate", model.evaluate, "generations, scores and leaderboard of what was trained"),
        ("run", model.run, "the whole model half: train, evaluate, decide on promotion"),
    ):
        made = command(name, function, description)
        made.add_argument("--recipe", action="append", metavar="R", help="recipe to use, may be given again (default: the profile's)")
        if name == "train":
            made.add_argument("--plan", action="store_true", help="train nothing; print how memory would be used, and the predicted peak")
            made.add_argument("--gpu-memory", type=_gigabytes, metavar="GB", help="with --plan: size of the GPU, like 16, 24, 40 or 80 (default: 24)")

    made = command("merge", adapters.merge, "base model and adapter as one folder of plain weights")
    made.add_argument("adapter", metavar="champion|VERSION|PATH")
    made.add_argument("output", metavar="FOLDER")

    made = command("export", adapters.export, "an adapter as one file for diffusers or for NVIDIA's repository")
    made.add_argument("adapter", metavar="champion|VERSION|PATH")
    made.add_argument("output", metavar="FILE", help="a .safetensors file")
    made.add_argument("--format", choices=("diffusers", "nvidia"), default="diffusers")

    made = command("generate", model.generate, "one video from an image and a prompt")
    made.add_argument("--image", required=True, metavar="FILE", help="first frame")
    made.add_argument("--prompt", required=True, metavar="TEXT")
    made.add_argument("--adapter", default="champion", metavar="champion|PATH|none", help="which adapter (default: champion)")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--output", default="generated.mp4", metavar="FILE")

    command("leaderboard", registry.leaderboard, "the current scoreboard")

    made = command("lineage", registry.lineage, "what made an adapter, or what an episode or a drop went into")
    which = made.add_mutually_exclusive_group(required=True)
    which.add_argument("ref", nargs="?", metavar="REF", help="champion, challenger, a version, an MLflow run id or an adapter folder")
    which.add_argument("--episode", metavar="ID", help="everything that was made of an episode")
    which.add_argument("--drop", metavar="NAME", help="everything that was made of a drop")
    made.add_argument("--mermaid", action="store_true", help="a mermaid graph instead of a tree")

    made = command("forget", registry.forget, "leave an episode out of later dataset versions and mark what used it; nothing else is rewritten")
    made.add_argument("--episode", required=True, metavar="ID")
    made.add_argument("--reason", required=True, metavar="TEXT")

    made = command("reproduce", registry.reproduce, "train an adapter again from its dataset version and settings, and compare; changes nothing else")
    made.add_argument("run", metavar="RUN", help="an MLflow run id, champion, challenger, a version or an adapter folder")

    made = command("promote", registry.promote, "make a registered version the champion")
    made.add_argument("version", metavar="VERSION")
    made.add_argument("--force", action="store_true", help="although the gate said no; needs --reason")
    made.add_argument("--reason", default="", metavar="TEXT")

    command("rollback", registry.rollback, "give the alias back to the champion before")

    command("history", registry.history, "who was champion when, and why")

    made = command("capacity", capacity.capacity, "wall time, storage, GPU hours and money of a number of episodes, from measured and published costs")
    capacity.add_arguments(made)

    made = command("verify", verify.verify, "hash every file of the lake again and name what is damaged, missing or extra; writes nothing")
    made.add_argument("--drop", metavar="NAME", help="this drop and its source only")

    command("doctor", doctor.doctor, "what is installed, which devices and services answer, what will not work and why")
    return parser


def _gigabytes(text: str) -> float:
    value = float(text)
    if not 0 < value < 10_000:
        raise argparse.ArgumentTypeError(f"{text} is no size of a GPU in GB")
    return value
