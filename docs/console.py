"""Write the pictures of console.md into docs/images: a server of the bundled models under load.

Needs Chromium and the extra dev. It takes a minute; run it after a change of the console's look.
"""

import io
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np
from PIL import Image
from running import browsers, servers

from serving.client import PredictClient, PredictError

FOLDER = ROOT / "docs" / "images"
SIZES = {"desktop": {"width": 1180, "height": 800}, "phone": {"width": 390, "height": 800}}
# View, size and theme of each picture. The first one is also in the README.
PICTURES = (
    ("try", "desktop", "light"),
    ("live", "desktop", "light"),
    ("models", "desktop", "light"),
    ("try", "desktop", "dark"),
    ("live", "desktop", "dark"),
    ("try", "phone", "light"),
    ("live", "phone", "dark"),
    ("models", "phone", "light"),
    ("api", "phone", "dark"),
)
# Seconds of load that the plots show.
LOAD_SECONDS = 60
COLOURS = 128


def call(address: str, ends: threading.Event) -> None:
    """Send pictures to both models, in numbers that go up and down, and some wrong requests."""
    images = np.load(ROOT / "tests" / "data" / "cifar10_sample.npz")["images"]
    random = np.random.default_rng(0)
    with PredictClient(address) as client:
        for step in range(1_000_000):
            if ends.wait(0.008 + 0.006 * np.sin(step / 400)):
                return
            rows = int(random.integers(1, 9))
            client.predict("resnet50" if step % 4 == 0 else "simcnn", {"images": images[:rows]})
            if step % 97 == 0:
                try:
                    client.predict("simcnn", {"images": images[:1, :8]})
                except PredictError:
                    continue


def prepare(page: Any, view: str) -> None:  # noqa: ANN401 - Playwright may not be installed
    """Bring a view into the state of its picture."""
    page.locator(f"nav a[href='#{view}']").click()
    if view == "try":
        for sample in ("ship", "cat"):  # the first picture of a server takes longer
            page.get_by_role("button", name=sample).click()
            page.locator(".answer .bars").nth(1).wait_for()
    elif view == "models":
        page.locator(".matrix").nth(1).wait_for()
    elif view == "api":
        page.locator(".operation summary").first.click()
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(400)


def save(png: bytes, path: Path) -> None:
    """Save a picture with few colours, which makes it several times smaller."""
    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


def main() -> None:
    """Write the pictures."""
    FOLDER.mkdir(exist_ok=True)
    ends = threading.Event()
    flags = ("--models_dir", str(ROOT / "models"), "--port", "0")
    with servers.as_process(*flags) as server, browsers.driver() as driver:
        address = server.wait_for(r"bound (127\.0\.0\.1:\d+)")[1]
        server.wait_for("ready: ")
        loads = [threading.Thread(target=call, args=(address, ends)) for _ in range(2)]
        for load in loads:
            load.start()
        with browsers.browser(driver) as browser:
            windows = {
                (size, theme): browser.new_context(
                    viewport=SIZES[size], color_scheme=theme
                ).new_page()
                for size, theme in dict.fromkeys((size, theme) for _, size, theme in PICTURES)
            }
            for page in windows.values():
                page.goto(f"http://{address}/")
            next(iter(windows.values())).wait_for_timeout(1000 * LOAD_SECONDS)
            for view, size, theme in PICTURES:
                page = windows[size, theme]
                prepare(page, view)
                save(page.screenshot(), FOLDER / f"console-{view}-{size}-{theme}.png")
        ends.set()
        for load in loads:
            load.join()


if __name__ == "__main__":
    main()
