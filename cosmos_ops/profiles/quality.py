"""Settings of the quality stage."""

from dataclasses import dataclass


@dataclass(frozen=True)
class QualitySettings:
    """Thresholds of the signals. A camera that is bad for most of an episode is quarantined, a bad stretch only costs the clips that show it."""

    min_frames: int | None = None
    """Fewest frames of an episode; None asks for one whole clip."""
    sample_fps: float = 8.0
    """Rate at which pixels are looked at."""
    black_luma: float = 16.0
    """A frame whose mean luma (0-255) is below this is black."""
    max_black_fraction: float = 0.2
    """Of the frames looked at; more quarantines the camera. So for the others."""
    least_contrast: float = 2.0
    """A frame whose luma deviates by less (standard deviation, 0-255) shows nothing: `constant`."""
    max_constant_fraction: float = 0.2
    max_white_area: float = 0.5
    """A frame of which more is white (luma 245 and above, bars left out) is overexposed,"""
    over_luma: float = 205.0
    """and one whose mean luma (bars left out) is above this. Real recordings have means of 73 to 126."""
    under_luma: float = 48.0
    """A frame of which 98 % is darker than this is underexposed."""
    max_exposure_fraction: float = 0.5
    max_blur: float = 0.68
    """A frame above this (0 sharp, 1 without detail; see `quality.signals.blur`) is blurred. Fast motion reaches 0.62 in good recordings."""
    max_blur_fraction: float = 0.5
    min_bad_s: float = 0.2
    """What is shorter, of all the above, does not cost a clip."""
    frozen_difference: float = 0.8
    """Mean absolute luma difference (0-255) of frames `frozen_lag_s` apart, in the most changed of 6 x 8 parts of the picture, below which nothing
    moved. Compression alone makes up to 0.6 of a still picture, a slow robot more than 1."""
    frozen_lag_s: float = 0.25
    max_frozen_fraction: float = 0.9
    max_frozen_s: float = 1.5
    """A picture that stands still for longer while the robot moves is frozen there."""
    cut_contrast: float = 0.36
    """A scene cut changes the picture by at least this much of what unrelated pictures differ by,"""
    cut_ratio: float = 1.4
    """by this many times the largest step around it,"""
    cut_kept: float = 0.82
    """and leaves less than this of the picture to be found again, in place or near by; 0.075 less where the step is not twice those around it and
    the change is not large. Real recordings keep 0.83 and more in their fastest moves, quick simulated wrists 0.77, another view of the robot up to 0.82."""
    least_bars: float = 0.04
    """Black bars thinner than this fraction of the side stay in the picture; others are cropped."""
    static_span: float = 0.05
    """A robot that covers less than this fraction of what the drop's episodes usually cover, in every column of its state, stands still."""
    max_static_s: float = 10.0
    """Standing still for longer costs the clips that show it."""
    jump_ratio: float = 1.6
    """A step of the state that stands out of those around it by this many times more than any does in nine of ten other episodes is a jump,"""
    jump_brisk: float = 3.5
    """and by this many times more than brisk motion does,"""
    jump_span: float = 0.25
    """and is larger than this fraction of what the column usually covers."""
    range_margin: float = 2.0
    """A value outside of what is usual by this many times what is usually covered is out of range."""
    near_duplicate: float = 0.25
    """Two recordings that differ by less than this fraction of what moves in them are the same recording."""
