"""The lake, the profile, and which version of each model-half product is the current one."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from cosmos_ops.heads import Heads
from cosmos_ops.lake import Lake
from cosmos_ops.profiles import Profile, load_profile
from cosmos_ops.recipes import Recipe, resolve_recipe

if TYPE_CHECKING:
    from cosmos_ops.registry.gates import Gates


class LakeResource(dg.ConfigurableResource):
    """Where data lies and under which profile it is read."""

    root: str
    profile_name: str
    upstream: str = ""
    """URL of the lake that `root` is a working copy of; empty where the lake is only there."""
    recipes_folder: str = ""
    """Folder with recipes beside the built-in ones; empty for none."""
    gates_file: str = ""
    """The promotion gate's YAML; empty for the package's own."""

    @property
    def lake(self) -> Lake:
        return Lake(self.root, self.upstream or None)

    @property
    def profile(self) -> Profile:
        return load_profile(self.profile_name)

    def recipe(self, name: str) -> Recipe:
        """A recipe resolved under the profile."""
        return resolve_recipe(name, self.profile, Path(self.recipes_folder) if self.recipes_folder else None)

    def gates(self) -> "Gates":
        """What a contender must show to be promoted."""
        from cosmos_ops.registry.gates import GATES, load_gates

        return load_gates(Path(self.gates_file) if self.gates_file else GATES)

    @property
    def heads(self) -> Heads:
        return Heads(self.lake, self.profile.name)
