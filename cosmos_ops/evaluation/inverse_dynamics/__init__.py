"""An inverse dynamics model, trained on a dataset's own clips and telemetry, that reads actions off video.

What it reads off a generated video is compared with the recorded actions. It stands beside its own error on the real continuation, below which
nobody can expect a generated video to come, and beside a constant guess, above which a video shows nothing of the actions.
"""

from cosmos_ops.evaluation.inverse_dynamics.server import InverseDynamics
from cosmos_ops.evaluation.inverse_dynamics.train import MIN_SKILL, train_inverse_dynamics

__all__ = ["MIN_SKILL", "InverseDynamics", "train_inverse_dynamics"]
