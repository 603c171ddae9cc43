"""What an image installs, from pyproject.toml: `python deploy/requirements.py runtime|work` prints requirements, one a line.

`runtime` is webserver, daemon and code location: the project's dependencies without those that only steps import. Versions are requirements.lock's,
given to pip as constraints.
"""

import re
import sys
import tomllib
from pathlib import Path

ONLY_STEPS_USE = (
    "torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "webdataset", "opencv-python-headless", "matplotlib", "great-expectations",
)  # fmt: skip
EXTRAS = ("postgres", "k8s", "s3")


def requirements(image: str, pyproject: Path) -> list[str]:
    """Requirement lines of an image, `runtime` or `work`. Raises `ValueError` for another, or where the project no longer has a package that is left out."""
    if image not in ("runtime", "work"):
        raise ValueError(f"{image!r} is no image; there are runtime and work")
    project = tomllib.loads(pyproject.read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    named = {_name(line) for line in lines}
    if unknown := set(ONLY_STEPS_USE) - named:
        raise ValueError(f"{', '.join(sorted(unknown))} are no dependencies of the project; leave them out of ONLY_STEPS_USE")
    return [line for line in lines if image == "work" or _name(line) not in ONLY_STEPS_USE]


def _name(line: str) -> str:
    return re.match(r"[\w.-]+", line)[0].lower()


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1], Path(__file__).resolve().parents[1] / "pyproject.toml")))
