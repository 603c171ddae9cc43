"""Single pictures: sizes from headers, whole or refused."""

import cv2
import numpy as np
import pytest

from cosmos_ops.video.frames import UnreadableVideo
from cosmos_ops.video.stills import StillDecoder, StillFacts, still_facts

PICTURES = np.random.default_rng(0).integers(0, 255, (3, 6, 8, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)


def encoded(image: np.ndarray, kind: str) -> bytes:
    return cv2.imencode(kind, image[..., ::-1])[1].tobytes()


@pytest.mark.parametrize(("kind", "codec", "error"), [(".jpg", "mjpeg", 12), (".png", "png", 0)])
def test_one_after_the_other(kind, codec, error):
    decoder = StillDecoder()
    for image in PICTURES:
        content = encoded(image, kind)
        assert still_facts(content) == StillFacts(codec, 48, 64)
        shown = decoder.decode(content + bytes(100)).to_ndarray(format="rgb24")
        assert np.abs(shown.astype(int) - image).mean() <= error


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_cut_anywhere(kind):
    content, decoder = encoded(PICTURES[0], kind), StillDecoder()
    for cut in range(0, len(content), 7):
        with pytest.raises(UnreadableVideo):
            decoder.decode(content[:cut])
    assert decoder.decode(content).height == 48


def test_what_is_no_picture():
    for content in (b"", b"\0" * 100, b"GIF89a" + bytes(50), b"\xff\xd8\xff" + b"\xff" * 100 + b"\xff\xd9", b"\xff\xd8\xff\xe0\0\0" * 50 + b"\xff\xd9"):
        with pytest.raises(UnreadableVideo):
            StillDecoder().decode(content)


def test_a_header_that_asks_for_too_much():
    content = bytearray(encoded(PICTURES[0], ".jpg"))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(UnreadableVideo, match="65535x65535"):
        StillDecoder().decode(bytes(content))
