"""Which requests the console refuses: other hosts, other origins, frames."""

import socket

import pytest

from serving.console.browser_guard import BrowserGuard, host_names
from serving.errors import PermissionDenied

GUARD = BrowserGuard(host_names("models.example, Other.Example"))


def headers(host: str = "localhost:8501", **more: str) -> dict[bytes, bytes]:
    named = {name.replace("_", "-").encode(): value.encode() for name, value in more.items()}
    return {b"host": host.encode(), **named}


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8501",
        "console.localhost:80",
        "127.0.0.1:8501",
        "10.1.2.3",
        "[::1]:8501",
        "[fe80::1]",
        "models.example:443",
        "other.example",
        "localhost.",
        f"{socket.gethostname()}:8501",
    ],
)
def test_known_hosts_are_answered(host):
    """IP addresses, localhost, the machine's name and the names of the flag, with any port."""
    GUARD.check(headers(host))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8501",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "models.example.evil.example",
        "evil.example@localhost",
        "[evil]",
        "1.2.3",
        "x" * 5000,
    ],
)
@pytest.mark.parametrize("is_page", [True, False])
def test_other_hosts_are_refused(host, is_page):
    """A name that an attacker may have pointed here gets nothing, and is not quoted at length."""
    with pytest.raises(PermissionDenied, match="--console_hosts") as caught:
        GUARD.check(headers(host), is_page=is_page)

    assert len(str(caught.value)) < 600


def test_the_own_origin_is_answered_and_others_are_not():
    """The origin must be that of the host, port included; the opaque origin is another one."""
    GUARD.check(headers(origin="http://localhost:8501"))
    GUARD.check(headers("[::1]:8501", origin="https://[::1]:8501"))

    for origin in ("http://evil.example", "http://localhost:9000", "null", "http://localhost"):
        with pytest.raises(PermissionDenied, match="origin"):
            GUARD.check(headers(origin=origin))


@pytest.mark.parametrize("frame", ["iframe", "frame", "embed", "object", "fencedframe"])
@pytest.mark.parametrize("is_page", [True, False])
def test_frames_are_refused(frame, is_page):
    """Even a frame of the same origin, because the console has none."""
    with pytest.raises(PermissionDenied, match="frame"):
        GUARD.check(
            headers(sec_fetch_dest=frame, sec_fetch_mode="navigate", sec_fetch_site="same-origin"),
            is_page=is_page,
        )


def test_other_sites_may_link_to_the_page_and_ask_for_nothing():
    """A link is a navigation; an image, a script or a fetch is not, and documents are no pages."""
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    GUARD.check(headers(**link, sec_fetch_dest="document"), is_page=True)
    GUARD.check(headers(sec_fetch_site="same-origin", sec_fetch_mode="cors"))
    GUARD.check(headers(sec_fetch_site="none", sec_fetch_mode="navigate"))

    with pytest.raises(PermissionDenied, match="another site"):
        GUARD.check(headers(**link, sec_fetch_dest="document"))
    for site in ("cross-site", "same-site"):
        with pytest.raises(PermissionDenied, match="another site"):
            GUARD.check(headers(sec_fetch_site=site, sec_fetch_mode="no-cors"), is_page=True)
