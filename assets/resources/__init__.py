"""Resource classes. Their instances, and every environment variable, are in `pipelines/environments.py`."""

from assets.resources.gpu import GpuResource
from assets.resources.lake import LakeResource
from assets.resources.launcher import TrainingLauncher
from assets.resources.notices import NoticesResource
from assets.resources.secret import SecretResource
from assets.resources.tracking import TrackingResource
from assets.resources.workers import WorkersResource

__all__ = ["GpuResource", "LakeResource", "NoticesResource", "SecretResource", "TrackingResource", "TrainingLauncher", "WorkersResource"]
