"""One video from an image and a prompt."""

import numpy as np
import pytest
from PIL import Image

from cosmos_ops.errors import UserError
from cosmos_ops.evaluation.samples import read_video
from cosmos_ops.evaluation.single import generate_one, read_image
from tests.evaluation.conftest import CLIP
from tests.evaluation.moving import texture


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "first.png"
    Image.fromarray(texture(60, 60, seed=2)).save(path)
    return path


def test_a_video_starts_from_the_image_and_follows_seed_and_adapter(world, image, tmp_path):
    def make(name, seed=0, adapter=None, progress=lambda *step: None):
        path = tmp_path / name
        about = generate_one(world.profile, world.lake.models(), image, "push the block", adapter, seed, path, "cpu", progress)
        return about, path

    steps = []
    about, first = make("a.mp4", progress=lambda *step: steps.append(step))
    assert (about["frames"], about["fps"], about["seed"], about["guardrail"]) == (CLIP.frames, CLIP.max_fps, 0, "off")
    assert about["seconds"] > 0 and about["peak_memory_bytes"] > 0
    assert ("sampling" in {note for _, _, note in steps}) and steps[-1] == (2, 2, "written")
    assert read_video(first, CLIP.frames).shape == (CLIP.frames, CLIP.height, CLIP.width, 3)
    assert make("b.mp4")[1].read_bytes() == first.read_bytes()
    assert make("c.mp4", seed=1)[1].read_bytes() != first.read_bytes()
    assert make("d.mp4", adapter=world.adapter.path)[1].read_bytes() != first.read_bytes()


def test_an_image_is_fitted_as_clips_are(image):
    frame = read_image(image, CLIP)
    assert frame.shape == (CLIP.height, CLIP.width, 3) and frame.dtype == np.uint8
    # Cropped, not squeezed: a 60 x 60 image keeps its full width, and the middle of its height.
    middle = np.asarray(Image.open(image).resize((48, 48), Image.Resampling.BOX))[8:40]
    assert np.abs(frame.astype(int) - middle).mean() < 6


def test_transparent_and_grey_images_are_read(tmp_path):
    Image.new("LA", (64, 40), (90, 255)).save(tmp_path / "grey.png")
    assert np.abs(read_image(tmp_path / "grey.png", CLIP).astype(int) - 90).max() <= 1


def test_bad_input_is_one_clear_line(world, image, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(image.read_bytes()[:200])
    text = tmp_path / "text.png"
    text.write_text("not an image")

    def fails(match, source=image, prompt="go", adapter=None, out=tmp_path / "x.mp4"):
        with pytest.raises(UserError, match=match) as caught:
            generate_one(world.profile, world.lake.models(), source, prompt, adapter, 0, out, "cpu")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "x.mp4").exists()

    fails("does not exist; give the image", source=tmp_path / "none.png")
    fails("broken.png is not a readable image", source=broken)
    fails("text.png is not a readable image", source=text)
    fails("is not a readable image", source=tmp_path)
    fails("prompt is empty", prompt="  ")
    fails("written as .mp4", out=tmp_path / "x.gif")
    fails("folder that exists", out=tmp_path / "none" / "x.mp4")
    fails("adapter", adapter=tmp_path)
