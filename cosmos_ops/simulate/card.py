"""The two files that tell people, and `find_licence`, what a simulated drop is: README.md and LICENSE."""

from pathlib import Path

from cosmos_ops.simulate.recording import RobotSpec

_LICENCE_NOTE = """SPDX-License-Identifier: Apache-2.0

This simulated dataset is licensed under the Apache License, Version 2.0.
The full text is at http://www.apache.org/licenses/LICENSE-2.0
Provided "as is", without warranties or conditions of any kind.
"""


def write_card(root: Path, robot: RobotSpec, episodes: int, layout: str, simulator: str) -> None:
    """Write both into `root`. `layout` begins with the format's usual name; `simulator` is the robot's name among the simulators."""
    (root / "README.md").write_text(f"""---
license: apache-2.0
task_categories:
- robotics
tags:
- {layout.split()[0]}
- simulated
---

# {robot.name}: {episodes} episodes

Simulated teleoperation of the robot `{robot.name}`, drawn by the project's built-in {simulator} simulator. {layout}.
Licence: Apache-2.0 (see LICENSE). Some episodes may carry faults on purpose; `meta/generator.json` lists them.
""")
    (root / "LICENSE").write_text(_LICENCE_NOTE)
