"""LeRobot logs whose videos cost what a camera's do: texture, motion and sensor noise."""

import json
from pathlib import Path

import av
import numpy as np

from tests.fixtures.lerobot_factory import write_lerobot

FPS, HEIGHT, WIDTH = 30, 480, 640


def filmed_log(root: Path, episodes: int, frames: int, codec: str = "libx264") -> Path:
    """A LeRobot v2.1 log of one camera, 640x480 at 30 frames a second."""
    write_lerobot(root, episodes=episodes, frames=frames, fps=FPS, height=48, width=64)  # its small videos are replaced
    info = json.loads((root / "meta/info.json").read_text())
    camera = info["features"]["observation.images.front"]
    camera["shape"] = [HEIGHT, WIDTH, 3]
    camera["info"] |= {"video.height": HEIGHT, "video.width": WIDTH}
    (root / "meta/info.json").write_text(json.dumps(info))
    for number, path in enumerate(sorted(root.rglob("*.mp4"))):
        _film(path, number, frames, codec)
    return root


def _film(path: Path, seed: int, frames: int, codec: str) -> None:
    rng = np.random.default_rng(seed)
    scene = np.kron(rng.integers(60, 180, (HEIGHT // 8, WIDTH // 8, 3)), np.ones((8, 8, 1))).astype(np.int16)
    scene = (scene + np.roll(scene, 3, 0) + np.roll(scene, 5, 1)) // 3
    arm = np.kron(rng.integers(20, 235, (20, 15, 3)), np.ones((8, 8, 1))).astype(np.int16)
    noisy = [np.clip(scene + rng.normal(0, 3, (HEIGHT, WIDTH, 1)).astype(np.int16), 0, 255).astype(np.uint8) for _ in range(8)]
    options = {"crf": "20", "preset": "veryfast", "g": "15"} if codec == "libx264" else {"crf": "30", "preset": "12", "g": "15"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            image = noisy[rng.integers(8)].copy()
            top, left = int(160 + 140 * np.sin(number / 23 + seed)), int(260 + 240 * np.cos(number / 31))
            image[top : top + arm.shape[0], left : left + arm.shape[1]] = arm
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
