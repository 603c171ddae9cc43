"""Which episodes of a drop are held out: decided once by a hash of the episode's id, never by order or chance.

The universe is the drop's usable episodes: those with at least one accepted camera that holds a whole clip. Quarantined episodes
have no split, so they cannot use up a held-out place. A drop is immutable, so under one profile its splits never change.
"""

from collections.abc import Iterable

from cosmos_ops.hashing import digest

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)

_FEWEST_TO_HOLD_OUT = 5
_FEWEST_TEST = 2
_FEWEST_VALIDATION = 1


def assign_splits(episode_ids: Iterable[str]) -> dict[str, str]:
    """Episode id -> `train`, `validation` or `test`.

    Episodes are ranked by a hash of their id: the first 10 % (rounded half up, at least 2) are test, the next 10 % (at least 1)
    validation, the rest train; fewer than 5 episodes are all train. Repeated ids count once.
    """
    ranked = sorted(set(episode_ids), key=lambda episode_id: (digest(["split", episode_id], 64), episode_id))
    if len(ranked) < _FEWEST_TO_HOLD_OUT:
        return dict.fromkeys(ranked, TRAIN)
    tenth = (len(ranked) + 5) // 10
    test = max(_FEWEST_TEST, tenth)
    validation = max(_FEWEST_VALIDATION, tenth)
    return {episode_id: TEST if rank < test else VALIDATION if rank < test + validation else TRAIN for rank, episode_id in enumerate(ranked)}
