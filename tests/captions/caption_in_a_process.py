"""Captions a drop with a vision model in a process of its own, to be killed. Arguments: lake, profile."""

import sys

from cosmos_ops.captions.write import caption_drop
from cosmos_ops.lake import Lake
from cosmos_ops.profiles import load_profile

if __name__ == "__main__":
    caption_drop(Lake(sys.argv[1]), "toy", load_profile(sys.argv[2]))
