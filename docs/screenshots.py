"""The README's pictures of the two user interfaces, taken from a home in which the demo has run, in a real Chromium.

    COSMOS_HOME=... .venv/bin/python docs/screenshots.py [DAGSTER_URL MLFLOW_URL]

Uses the servers at these addresses, or starts what `make dev` starts and stops it in the end. Writes `docs/<name>.jpg`.
"""

import base64
import contextlib
import io
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from PIL import Image

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from tests.browser import Page, open_page  # noqa: E402

_MOST_BYTES = 200_000
_SETTLED = "new Promise((done) => setTimeout(done, 6000))"
"""Statuses, pictures and the graph's layout come after the text."""


@dataclass(frozen=True)
class View:
    """One page: where it is, what shows that it is there, and which part of it is taken."""

    name: str
    server: str
    """`Dagster` or `MLflow`."""
    path: str
    ready: str
    """A script that is true when the page shows what it should."""
    part: tuple[int, int, int, int]
    """Left, top, width and height in px of a window of 1700 x 1100."""
    script: str = "0"
    """Run once the page is ready."""


def views(model: str) -> list[View]:
    """The pages, for a registered model."""

    def shows(*texts: str) -> str:
        return " && ".join(f"document.body.innerText.includes({text!r})" for text in texts)

    open_picture = "[...document.querySelectorAll('*')].find((e) => !e.children.length && e.textContent.trim() === '[Show Markdown]').click()"
    return [
        View("screenshot-graph", "Dagster", "/asset-groups", shows("contenders", "recipes", "promotion"), (540, 470, 1160, 190)),
        View("screenshot-quality", "Dagster", "/assets/quality?view=overview", shows("[Show Markdown]"), (0, 0, 1700, 1100), open_picture),
        View("screenshot-version", "MLflow", f"/#/models/{quote(model)}/versions/1", shows("cosmos.base_revision", "Schema"), (0, 0, 1255, 900)),
    ]


def main(servers: list[str]) -> int:
    """Take the pictures."""
    from pipelines.environments import environment, prepare

    env = environment()
    prepare(env)
    from cosmos_ops.registry.names import model_name

    with contextlib.nullcontext(dict(zip(("Dagster", "MLflow"), servers, strict=True))) if servers else started() as urls:
        for view in views(model_name(env.profile, env.lake)):
            with open_page(urls[view.server] + view.path, 1700, 1100) as page:
                print(f"{view.name}: {take(page, view)} bytes", flush=True)
    return 0


@contextlib.contextmanager
def started() -> Iterator[dict[str, str]]:
    """Servers of our own: name -> address."""
    process = subprocess.Popen([sys.executable, "-m", "pipelines.dev"], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        urls = {}
        for line in process.stdout:
            if found := re.match(r"(Dagster|MLflow)\s+(http\S+)", line):
                urls[found[1]] = found[2]
            if "Ctrl-C" in line:
                break
        yield urls
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)


def take(page: Page, view: View) -> int:
    """Wait for the page and write its picture, as large as fits; returns its size in bytes."""
    page.wait_until(view.ready)
    page.evaluate(_SETTLED)
    page.evaluate(view.script)
    page.evaluate(_SETTLED)
    left, top, width, height = view.part
    part = {"x": left, "y": top, "width": width, "height": height, "scale": 0.8}
    taken = base64.b64decode(page.command("Page.captureScreenshot", format="png", clip=part)["data"])
    with Image.open(io.BytesIO(taken)) as image:
        for quality in (85, 75, 65, 50):
            written = io.BytesIO()
            image.convert("RGB").save(written, "JPEG", quality=quality, optimize=True, progressive=True)
            if written.tell() < _MOST_BYTES:
                break
    (PROJECT / "docs" / f"{view.name}.jpg").write_bytes(written.getvalue())
    return written.tell()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
