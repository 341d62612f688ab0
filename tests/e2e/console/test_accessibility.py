"""The console for everyone: axe-core's rules, the keyboard alone, and a phone's width."""

import pytest
from running import browsers

VIEWS = ("models", "live", "try", "api")
THEMES = ("light", "dark")
PHONE = {"width": 390, "height": 844}
# What has the focus: its text or label, and whether an outline shows it.
FOCUS = """() => { const one = document.activeElement; const style = getComputedStyle(one);
  return [one.getAttribute("aria-label") || one.innerText || one.title || one.id || one.tagName,
          style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2]; }"""


@pytest.fixture(scope="module")
def axe():
    return pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="axe-playwright-python is not installed; it is in the extra dev",
    ).Axe()


def fill(page, view: str) -> None:
    """Open what a view shows only after a click."""
    if view == "try":
        page.locator(".sample").first.click()
        page.locator(".answer .bars").nth(1).wait_for()
        page.locator(".answer summary").first.click()
        page.get_by_label("Model").select_option("add/1")
        page.get_by_role("button", name="Send to :predict").click()
        page.locator("pre.output").wait_for()
    elif view == "models":
        for name in ("simcnn", "add"):
            page.locator(f"section.model[aria-label={name}] summary").first.click()
        page.locator(".matrix").first.wait_for()
        page.get_by_text("Model card", exact=True).first.click()
    elif view == "api":
        page.locator(".operation summary").first.click()
    else:
        page.locator("figure").first.wait_for()
        page.wait_for_timeout(1200)


@pytest.mark.slow
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing(chromium, base, axe, view, theme):
    """Contrast, names, roles, landmarks and headings, in both themes."""
    # axe is a script from outside, which the page's policy would refuse.
    with browsers.opened(chromium, base, color_scheme=theme, bypass_csp=True) as window:
        page = window.show(view)
        fill(page, view)
        found = axe.run(page).response["violations"]

    assert [
        (each["id"], [node["html"][:120] for node in each["nodes"][:3]]) for each in found
    ] == []


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_scrolls_in_one_direction_only(chromium, base, view):
    """Wide tables scroll by themselves; the page does not."""
    with browsers.opened(chromium, base, viewport=PHONE, has_touch=True) as window:
        page = window.show(view)
        fill(page, view)
        width = page.evaluate("document.scrollingElement.scrollWidth")

    assert width <= PHONE["width"]
    assert window.problems == []


def tab(page, times: int = 1) -> list[str]:
    """Press the tabulator; return the names of what gets the focus, which must be visible."""
    names = []
    for _ in range(times):
        page.keyboard.press("Tab")
        name, is_visible = page.evaluate(FOCUS)
        assert is_visible, f"the focus on {name!r} cannot be seen"
        names.append(name.split("\n")[0])
    return names


def test_the_keyboard_is_enough(console):
    """From the first key: skip link, views, a sample, its answer, and its snippet."""
    page = console.show()
    first = tab(page, 5)
    page.keyboard.press("Shift+Tab")  # back to "Try it"
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Try it").wait_for()
    inside = tab(page, 2)
    page.keyboard.press("Enter")
    page.locator(".answer .bars").nth(1).wait_for()
    while "Copy as a command or program" not in tab(page):
        pass
    page.keyboard.press("Enter")
    buttons = tab(page, 2)
    page.keyboard.press("Enter")
    snippet = page.locator("pre.snippet").first
    focused = page.evaluate(FOCUS)[0]

    assert first == ["Skip to the content", "Models", "Live", "Try it", "API"]
    assert inside[0] == "picture-file"
    assert inside[1].startswith("Sample: ")
    assert buttons == ["curl", "grpcurl"]
    assert snippet.get_attribute("data-client") == "grpcurl"
    assert focused == "grpcurl"


def test_the_skip_link_leads_to_the_content(console):
    """The next thing in the order is in the content, not in the head."""
    page = console.show()
    tab(page)
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")

    assert page.evaluate("document.activeElement.closest('#main') !== null")
