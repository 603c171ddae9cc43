"""The demo's story on other drops and the environment's profile, as a process: `python -m tests.pipelines.play_demo DROP... [--retrain]`."""

import sys
from pathlib import Path

from cosmos_ops.errors import UserError
from cosmos_ops.simulate.demo import DemoDrop
from pipelines.cli.demo import play
from pipelines.cli.output import Output
from pipelines.environments import environment, prepare


def main() -> int:
    folders = [Path(argument) for argument in sys.argv[1:] if argument != "--retrain"]
    env, output = environment(), Output(json=True)
    prepare(env)
    try:
        output.finish(play(env, [DemoDrop(folder.name, folder, ()) for folder in folders], "--retrain" in sys.argv, output))
    except UserError as error:
        output.fail(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
