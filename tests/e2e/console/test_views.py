"""The console in a real Chromium: models, pictures, forms and live figures."""

import base64
import io
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running.browsers import number_of

from serving.client import PredictClient, PredictError

BUNDLED = Path(__file__).parents[3] / "models"
# Puts a file into a drop or a paste, as a browser does.
SEND_FILE = """([selector, kind, base64, name, type]) => {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type }));
  const target = selector ? document.querySelector(selector) : window;
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
    : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
  target.dispatchEvent(event);
}"""


def file_of(image: np.ndarray, kind: str = "png", scale: int = 1) -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(image)
    picture.resize([scale * side for side in picture.size]).save(stream, kind)
    return stream.getvalue()


def send(page, kind: str, content: bytes, type_: str = "image/png") -> None:
    """Drop or paste a file."""
    encoded = base64.b64encode(content).decode()
    selector = "" if kind == "paste" else ".drop"
    page.evaluate(SEND_FILE, [selector, kind, encoded, "picture", type_])


def answered(page) -> dict[str, tuple[str, float]]:
    """Wait for the answers of all classifiers; return class and score by model."""
    page.locator(".answer .bars").nth(1).wait_for()
    cards = page.locator(".answer")
    found = {}
    for index in range(cards.count()):
        name = cards.nth(index).locator("h3").inner_text()
        best = cards.nth(index).locator(".best").first.inner_text()
        score = cards.nth(index).locator("tr.best td.number").inner_text()
        found[name] = (best, number_of(score) / 100)
    return found


def test_the_models_are_shown_with_their_state_and_how_they_run(console):
    """Version, state, precision, provider, signatures and the verdict on batching."""
    page = console.show()
    simcnn = page.locator("section.model[aria-label=simcnn]")
    simcnn.locator("summary").first.click()

    assert page.locator("section.model").count() == 4
    assert "version 1, int8 on CPU" in simcnn.inner_text()
    assert "AVAILABLE" in simcnn.inner_text()
    assert "Evidence: rows answer the same together" in simcnn.inner_text()
    assert "uint8 (any, 32, 32, 3)" in simcnn.inner_text()
    assert simcnn.get_by_text("model.int8.onnx").count()


def test_recorded_accuracy_has_its_interval_and_confusion_matrix(console):
    """The figures are those of metrics.json."""
    metrics = json.loads((BUNDLED / "simcnn" / "1" / "metrics.json").read_text())
    entry = metrics["variants"]["int8"]
    page = console.show()
    simcnn = page.locator("section.model[aria-label=simcnn]")
    simcnn.locator("summary").first.click()
    matrix = simcnn.locator(".matrix")
    matrix.wait_for()
    rows = matrix.locator("tbody tr")
    found = [
        [int(number_of(cell)) for cell in rows.nth(index).locator("td").all_inner_texts()]
        for index in range(rows.count())
    ]
    low, high = entry["top1_wilson_95"]

    assert found == entry["confusion_matrix"]
    assert f"{100 * entry['top1']:.2f} %" in simcnn.inner_text()
    assert f"{100 * low:.2f} % to {100 * high:.2f} %" in simcnn.inner_text()


def test_a_model_card_is_rendered(console):
    """Headings, tables and code become elements; pictures are named, and not loaded."""
    page = console.show()
    simcnn = page.locator("section.model[aria-label=simcnn]")
    simcnn.locator("summary").first.click()
    simcnn.get_by_text("Model card", exact=True).click()
    card = simcnn.locator(".card-text")
    card.get_by_role("heading", name="Intended use").wait_for()

    assert card.locator("table").count() > 5
    assert "from serving.client import PredictClient" in card.locator("pre").first.inner_text()
    assert card.locator("img").count() == 0
    assert "[image: curves]" in card.inner_text()


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_is_answered_by_both_models(console, base, sample_images, kind):
    """A PNG that is dropped or pasted gets the answers that the client gets, with their times."""
    page = console.show("try")
    content = file_of(sample_images[0])
    send(page, kind, content)
    found = answered(page)
    with PredictClient(base.removeprefix("http://")) as client:
        right = {name: client.classify(name, [content])[0][0] for name in ("simcnn", "resnet50")}
    card = page.locator(".answer").first.inner_text()

    assert found.keys() == right.keys()
    for name, (label, score) in right.items():
        assert found[name] == (label, pytest.approx(score, abs=1e-4))
    for text in ("precision", "int8", "queue", "model", "server in total", "seen by this page"):
        assert text in card


@pytest.mark.parametrize(
    ("kind", "scale", "note"),
    [
        ("jpeg", 4, "sent as it is"),
        ("webp", 2, "sent as PNG"),
        ("png", 64, "scaled to 1024"),
    ],
)
def test_other_pictures_are_prepared(console, sample_images, kind, scale, note):
    """What the server cannot read becomes a PNG, and what is large is scaled down."""
    page = console.show("try")
    send(page, "drop", file_of(sample_images[1], kind, scale), f"image/{kind}")
    found = answered(page)

    assert note in page.locator(".preview").inner_text()
    assert {label for label, _ in found.values()} == {"ship"}


def test_samples_and_files_are_answered_too(console, tmp_path, sample_images):
    """A sample is a button; a file is chosen; what is no picture gets a message."""
    page = console.show("try")
    page.get_by_role("button", name="horse").click()
    sample = answered(page)
    path = tmp_path / "ship.png"
    path.write_bytes(file_of(sample_images[1]))
    page.locator("#picture-file").set_input_files(path)
    page.locator(".preview").get_by_text("kB, sent as it is").wait_for()
    console.until("document.querySelectorAll('.answer .best').length >= 2")
    console.until(
        "[...document.querySelectorAll('.answer strong.best')].every((e) => e.innerText === 'ship')"
    )
    path.write_text("no picture")
    page.locator("#picture-file").set_input_files(path)

    page.locator(".preview [role=alert]").get_by_text("use a PNG or JPEG file").wait_for()
    assert {label for label, _ in sample.values()} == {"horse"}


def test_a_form_is_made_from_the_signature(console):
    """Two inputs are two fields; the answer is shown with its times; mistakes get messages."""
    page = console.show("try")
    page.get_by_label("Model").select_option("add/1")
    page.get_by_label("a", exact=False).last.wait_for()
    areas = page.locator("textarea")
    areas.nth(0).fill("[1, 2]")
    areas.nth(1).fill("[10, 20]")
    page.get_by_role("button", name="Send to :predict").click()
    output = page.locator("pre.output")
    output.wait_for()
    answer = json.loads(output.inner_text())
    areas.nth(1).fill("[10, ")
    page.get_by_role("button", name="Send to :predict").click()
    page.get_by_text("is not JSON").wait_for()
    areas.nth(1).fill("[[10, 20]]")
    page.get_by_role("button", name="Send to :predict").click()
    page.get_by_text("expected (-1,)").wait_for()
    console.problems[:] = [each for each in console.problems if "400" not in each]

    assert answer == {"outputs": {"sum": [11, 22], "difference": [-9, -18]}}


class Load:
    """Calls in a thread until the end of the block."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._call, daemon=True)

    def _call(self) -> None:
        ones = np.ones((2, 3), np.float32)
        with PredictClient(self._address) as client:
            while not self._ends.is_set():
                for _ in range(20):
                    client.predict("identity", {"x": ones})
                try:
                    client.predict("identity", {"z": ones})
                except PredictError:
                    time.sleep(0.05)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._ends.set()
        self._thread.join(30)


def test_plots_move_under_load(console, base):
    """Rates, errors by code, percentiles by stage and batch sizes appear within seconds."""
    page = console.show("live")
    page.get_by_text("No run since the page was opened").wait_for()
    path = "document.querySelector('.plots figure > svg path.line.m0').getAttribute('d')"
    with Load(base.removeprefix("http://")):
        page.get_by_text("INVALID_ARGUMENT").first.wait_for()
        page.get_by_role("button", name="identity").click()
        heights = (
            "[...document.querySelectorAll('.plots rect')].map((e) => e.getAttribute('height'))"
        )
        console.until(f"{heights}.some((height) => height > 1)")
        first = page.evaluate(path)
        console.until(f"{path} !== {json.dumps(first)}")
        cards = dict(
            zip(
                page.locator("#main dt").all_inner_texts(),
                page.locator("#main dd").all_inner_texts(),
                strict=True,
            )
        )
        lines = page.locator("figure > svg path.line").count()
    console.until("[...document.querySelectorAll('#main dd')][0].innerText.replace(',', '') < 1")
    table = page.get_by_role("group", name="Errors since the start of the server").inner_text()

    assert number_of(cards["requests/s"]) > 20
    assert number_of(cards["errors/s"]) > 0
    assert 0 < number_of(cards["p50"]) <= number_of(cards["p90"]) <= number_of(cards["p99"])
    assert number_of(cards["rows a run"]) >= 2
    assert number_of(cards["memory of the server"]) > 1
    assert lines >= 10
    assert "identity" in table
    assert "INVALID_ARGUMENT" in table


def test_the_page_asks_nothing_while_nobody_looks(console):
    """A hidden page stops to ask, and goes on when it is shown again."""
    page = console.show("live")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    hide = """(hidden) => Object.defineProperty(
        document, "hidden", { get: () => hidden, configurable: true })"""
    page.evaluate(hide, True)
    page.wait_for_timeout(1500)  # a call may be under way
    asked.clear()
    page.wait_for_timeout(2500)
    quiet = list(asked)
    page.evaluate(hide, False)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(2500)

    assert quiet == []
    assert len(asked) >= 2


def test_the_description_of_the_api_is_rendered(console):
    """Also at /docs; an operation shows its paths, body, example and answers."""
    page = console.show(path="/docs")
    page.locator(".operation").first.wait_for()
    predict = page.locator(".operation", has_text="/v1/models/{name}:predict").first
    predict.locator("summary").click()
    predict.get_by_text("PredictRequest").first.wait_for()  # its details are made when it opens
    text = predict.inner_text()

    assert page.locator("h1").inner_text() == "API"
    assert page.locator(".operation").count() == 25
    for part in ("/v1/models/{name}/labels/{label}:predict", "PredictRequest", "instances", "503"):
        assert part in text
