"""The console in a real Chromium against other pages, hostile models, and with keys."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keys_files
import pytest
from keys_files import entry, key_of
from running import browsers, servers
from sample_models import tiny_models

HOSTILE = "<img src=x onerror=alert(1)>"
CARD = f"""# {HOSTILE}

<script>document.title = "taken"</script> **bold** <b>not bold</b>

[bad](javascript:alert(1)) [data](data:text/html,x) [good](https://example.com/a) ![image](http://x/y.png)

| a | b |
| --- | --- |
| {HOSTILE} | `code` |

- one
  - two

```html
<script>alert(2)</script>
```
"""


@contextmanager
def framing_page(address: str) -> Iterator[str]:
    """Serve a page of another origin that frames the console and asks for its documents."""
    page = f"""<!doctype html><title>start</title>
<iframe src="{address}/"></iframe><img src="{address}/console/figures">
<script type="module">
try {{ await fetch("{address}/console/models"); document.title = "read"; }}
catch {{ document.title = "refused"; }}
</script>"""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def window(chromium):
    """A window without a server yet."""
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def test_another_page_can_neither_frame_nor_read_the_console(window, base):
    """The frame stays empty, and the fetch fails."""
    with framing_page(base) as other:
        window.goto(other)
        window.wait_for_function("document.title !== 'start'")
        window.wait_for_timeout(300)
        frame = next(frame for frame in window.frames if frame != window.main_frame)
        content = frame.content()
        width = window.evaluate("document.images[0].naturalWidth")

    assert window.title() == "refused"
    assert "onnx-serving" not in content
    assert width == 0


def test_a_name_that_is_pointed_here_gets_nothing(playwright, base):
    """DNS rebinding: the browser asks this server under the attacker's name."""
    port = base.rpartition(":")[2]
    with browsers.browser(
        playwright, "--host-resolver-rules=MAP evil.example 127.0.0.1"
    ) as browser:
        page = browser.new_page()
        answer = page.goto(f"http://evil.example:{port}/")
        document = page.evaluate("fetch('/console/models').then((answer) => answer.status)")

    assert answer.status == 403
    assert document == 403


def test_only_the_script_of_the_page_runs(console):
    """Scripts and styles that are added later are refused by the page's policy."""
    page = console.show()
    text = page.evaluate(
        """() => { const made = document.createElement('script');
        try { made.textContent = 'document.title = "taken"'; } catch (error) { return error.name; }
        document.body.append(made); return document.title; }"""
    )
    markup = page.evaluate(
        """() => { try { document.body.innerHTML = '<b>x</b>'; return 'set'; }
        catch (error) { return error.name; } }"""
    )
    console.problems.clear()  # the browser reports what it refused

    assert text == "TypeError"
    assert markup == "TypeError"
    assert page.title().startswith("Models")


def test_a_hostile_model_stays_text(chromium, tmp_path):
    """Its name and its card show their markup as text, run nothing and load nothing."""
    tiny_models.identity(tmp_path)
    folder = tmp_path / HOSTILE.replace("/", "")
    (tmp_path / "identity").rename(folder)
    (folder / "1" / "MODEL_CARD.md").write_text(CARD)
    dialogs = []
    with (
        servers.in_this_process(tmp_path) as address,
        browsers.opened(chromium, f"http://{address}") as window,
    ):
        window.page.on("dialog", lambda dialog: dialogs.append(dialog.dismiss()))
        page = window.show()
        page.get_by_text("Model card", exact=True).click()
        card = page.locator(".card-text")
        card.locator("td").first.wait_for()  # the page asks for the card when it is opened
        text = card.inner_text()
        heading = page.locator("section.model h2").inner_text()
        links = card.locator("a").evaluate_all("(links) => links.map((link) => link.href)")
        found = {
            name: card.locator(name).count() for name in ("img", "script", "b", "strong", "td")
        }
        nested = card.locator("ul ul li").all_inner_texts()
        title = page.title()
        window.page.goto(f"http://{address}/#try")
        window.page.get_by_role("button", name="Send to :predict").click()
        window.page.locator("pre.output").wait_for()
        copied = window.page.locator("pre.snippet").inner_text()

    assert heading == folder.name
    assert HOSTILE in text
    assert '<script>document.title = "taken"</script>' in text
    assert "<b>not bold</b>" in text
    assert links == ["https://example.com/a"]
    assert found == {"img": 0, "script": 0, "b": 0, "strong": 1, "td": 2}
    assert nested == ["two"]
    assert title.startswith("Models")
    assert "%3Cimg%20src%3Dx" in copied
    assert (dialogs, window.problems) == ([], [])


def test_signing_in_with_a_key(chromium, models_dir, tmp_path):
    """Without a key there is a form; a wrong key gets the reason; the key is not stored."""
    path = keys_files.write(
        tmp_path / "keys.json",
        entry("root", "admin", "predict", "metadata"),
        entry("user", "predict"),
    )
    with (
        servers.in_this_process(models_dir, api_keys_file=path) as address,
        browsers.opened(chromium, f"http://{address}") as window,
    ):
        page = window.page
        page.goto(f"{window.base}/")
        field = page.get_by_label("Key")
        field.wait_for()
        shown = page.locator("main").inner_text()
        for key, reason in (("wrong", "unknown"), (key_of("user"), "lacks the role admin")):
            field.fill(key)
            field.press("Enter")
            page.locator("form [role=alert]").get_by_text(reason).wait_for()
        field.fill(key_of("root"))
        field.press("Enter")
        page.get_by_role("heading", name="identity").wait_for()
        page.get_by_role("link", name="Try it").click()
        page.get_by_label("Model").select_option("identity/1")
        page.get_by_role("button", name="Send to :predict").click()
        page.locator("pre.output").wait_for()
        copied = page.locator("pre.snippet").inner_text()
        foot = page.locator("#foot").inner_text()
        stored = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("Key").wait_for()
        again = page.locator("h1").inner_text()

    assert "identity" not in shown
    assert "authorization: Bearer $KEY" in copied
    assert key_of("root") not in copied
    assert "root" in foot
    assert stored == [0, 0, ""]
    assert again == "Sign in"


def test_a_new_version_appears_by_itself(chromium, tmp_path):
    """The page shows versions and their failures without being loaded again."""
    tiny_models.identity(tmp_path)
    settings = {"file_system_poll_wait_seconds": 0.2}
    with (
        servers.in_this_process(tmp_path, **settings) as address,
        browsers.opened(chromium, f"http://{address}") as window,
    ):
        page = window.show()
        before = page.locator(".version").count()
        broken = Path(tmp_path, "identity", "2")
        broken.mkdir()
        (broken / "model.onnx").write_text("no graph")
        page.get_by_text("FAILED", exact=True).wait_for()
        reason = page.locator(".version .alert").first.inner_text()

    assert before == 1
    assert "model.onnx" in reason
    assert window.problems == []


def test_a_server_that_is_gone_is_said_and_found_again(chromium, tmp_path):
    """The page keeps asking, and goes on when the server is back."""
    tiny_models.identity(tmp_path)
    with (
        servers.in_this_process(tmp_path) as address,
        browsers.opened(chromium, f"http://{address}") as window,
    ):
        page = window.show("live")
        page.route("**/console/figures", lambda route: route.abort())
        page.get_by_text("the server does not answer; asking again each second").wait_for()
        page.unroute("**/console/figures")
        page.locator("#head .alert").wait_for(state="detached")

    assert all("ERR_FAILED" in each for each in window.problems)
