"""SuperPoint keypoints matched by LightGlue, from a transformers folder (`LightGlueForKeypointMatching`)."""

from pathlib import Path

import cv2
import numpy as np
import torch

from cosmos_ops.errors import UserError

MAX_KEYPOINTS = 2048


class Matcher:
    """Points of two pictures that show the same thing."""

    def __init__(self, files: list[Path]):
        from transformers import LightGlueForKeypointMatching

        folder = files[0].parent
        try:
            self.model = LightGlueForKeypointMatching.from_pretrained(folder, use_safetensors=True, local_files_only=True).eval()
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise UserError(f"{folder} does not hold LightGlue with SuperPoint as transformers writes it ({' '.join(str(error).split())[:160]})") from None
        self.model.keypoint_detector.keypoint_decoder.max_keypoints = MAX_KEYPOINTS

    @torch.inference_mode()
    def __call__(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Matched points [n, 2], [n, 2] in px (right, down) of two uint8 pictures [H, W, 3] of one size, at that size."""
        height, width = first.shape[:2]
        grey = np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (first, second)])
        pictures = torch.from_numpy(grey).float().div(255)[None, :, None].expand(1, 2, 3, height, width)
        found = self.model(pictures)
        count = found.keypoints.shape[2]
        chosen = found.matches.reshape(2, count)[0]  # [1, 2, K], or [2, K] where the model is set to stop at no layer but the last
        places = torch.nonzero(chosen >= 0)[:, 0]
        points = found.keypoints[0] * torch.tensor([width, height])
        return points[0, places].double().numpy(), points[1, chosen[places].long()].double().numpy()
