"""Load tests on a pseudo-terminal, against a real server."""

import re
import signal
import sys
import time
from collections.abc import Callable

import psutil
import pytest
from running.terminal import Terminal

from loadtest.report_file import read_run

CTRL_C = b"\x03"
VIEW = "loadtest.live.process"


@pytest.fixture
def on_terminal(image_target, data_dir, tmp_path) -> Callable[..., Terminal]:
    """Return a function that starts a load test of `cat` on a terminal."""

    def start(*flags: object, command: str = "run", size=(80, 24), **environment) -> Terminal:
        arguments = ["--target", image_target, "--model", "cat", "--data-dir", data_dir]
        arguments += ["--output-dir", tmp_path / "report", *flags]
        program = [sys.executable, "-m", "loadtest", command, *map(str, arguments)]
        columns, lines = size
        return Terminal(program, columns=columns, lines=lines, **environment)

    return start


def view_of(terminal: Terminal) -> psutil.Process:
    children = psutil.Process(terminal.process.pid).children()
    (view,) = [child for child in children if VIEW in child.cmdline()]
    return view


def rules(text: str) -> dict[str, str]:
    """Return the word before each rule that is not met, by the rule's name."""
    found = re.findall(r"^(fails|open) +([a-z-]+):", text, re.MULTILINE)
    return {name: word for word, name in found}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_fills_the_screen_and_leaves_the_summary(on_terminal, tmp_path, processes):
    """The last picture has the report's figures and verdict; the summary follows it."""
    flags = ("--scenario", "server", "--rate", 150, "--duration", 2.5, "--slo-ms", 500)
    with on_terminal(*flags, "--processes", processes, size=(100, 40)) as terminal:
        terminal.wait_for(r"answered/s +\d")
        shown = terminal.screen.is_alternate, terminal.screen.shows_cursor
        code = terminal.wait()
        screen = terminal.screen

    report = read_run(tmp_path / "report")
    last, after = screen.last_alternate, screen.normal_text
    assert shown == (True, False)
    assert (screen.is_alternate, screen.shows_cursor) == (False, True)
    assert code == 0
    assert f"{report.requests.answered:,} finished, 0 under way, 0 missed" in last
    assert f"top-1 {100 * report.accuracy.top1:.2f} % of {report.accuracy.n}" in last
    assert re.search(rf"p50 ms .* {report.latency_ms.p50:,.3f}$", last, re.MULTILINE)
    assert re.search(r"p99 ms +n/a \(needs 662\) +n/a \(needs 662\)", last)
    failed = {check.name for check in report.validity.checks if not check.passed}
    assert set(rules(last)) == failed >= {"requests", "slo-duration"}
    assert rules(last)["requests"] == "open"
    assert after.splitlines()[0].startswith(report.target)
    assert "verdict     INVALID" in after
    assert "under way, 0 missed" not in after


def test_messages_of_libraries_do_not_garble_the_screen(on_terminal):
    """What gRPC writes to standard error during a run is shown below, after the run."""
    flags = ("--users", 1, "--duration", 2)
    noise = {"GRPC_VERBOSITY": "debug", "GRPC_TRACE": "api"}
    with on_terminal(*flags, **noise) as terminal:
        pictures = []
        while terminal.screen.last_alternate == "" and terminal.read():
            pictures.append(terminal.screen.text if terminal.screen.is_alternate else "")
        terminal.wait()

    seen = [picture for picture in pictures if "answered/s" in picture]
    assert seen
    assert not [picture for picture in seen if "grpc_" in picture]
    assert "grpc_" in terminal.screen.normal_text
    assert "verdict " in terminal.screen.normal_text


def test_ctrl_c_ends_the_run_with_its_report(on_terminal, tmp_path):
    """Ctrl-C reaches the load test, which leaves the screen and writes its report."""
    with on_terminal("--users", 1, "--duration", 60) as terminal:
        terminal.wait_for(r"[1-9]\d* finished")
        terminal.press(CTRL_C)
        code = terminal.wait()

    assert code == 1
    assert read_run(tmp_path / "report").stop_reason == "interrupted by SIGINT"
    assert not terminal.screen.is_alternate
    assert terminal.screen.shows_cursor
    assert "interrupted by SIGINT" in terminal.screen.normal_text
    assert "Traceback" not in terminal.screen.normal_text


def test_the_screen_follows_the_size_of_the_terminal(on_terminal):
    """Small terminals show the upper part, cut to their width; a larger one shows more.

    Some shells export the size of the moment, which must not hold for good.
    """
    exported = {"COLUMNS": "80", "LINES": "24"}
    with on_terminal("--users", 1, "--duration", 60, size=(80, 24), **exported) as terminal:
        terminal.wait_for(r"client +\d")
        for columns, lines in ((36, 24), (20, 6), (120, 40)):
            terminal.resize(columns, lines)
            # The text is cut, or fills more columns than before.
            wanted = r"(?m)^closed loop.*…$" if columns < 80 else r"closed loop, 1 user.* seconds"
            terminal.wait_for(wanted)
            terminal.wait_for(r"verdict so far: \w+|verdict so fa…")
            assert max(map(len, terminal.screen.rows)) <= columns
        terminal.wait_for(r"(?m)^ok  .*complete")
        terminal.press(CTRL_C)
        terminal.wait()

    assert "Traceback" not in terminal.screen.normal_text


def test_a_killed_load_test_leaves_a_usable_terminal(on_terminal):
    """The view's process notices that the load test is gone, and leaves the screen."""
    with on_terminal("--users", 1, "--duration", 60) as terminal:
        terminal.wait_for(r"[1-9]\d* finished")
        terminal.process.kill()
        screen = terminal.wait_for(lambda screen: not screen.is_alternate)

    assert screen.shows_cursor


def test_a_run_outlives_its_view(on_terminal, tmp_path):
    """If the view's process is killed, the run goes on with lines on the normal screen."""
    with on_terminal("--users", 1, "--duration", 4) as terminal:
        terminal.wait_for(r"[1-9]\d* finished")
        view_of(terminal).kill()
        terminal.wait_for(lambda screen: not screen.is_alternate)
        terminal.wait_for(r"\d s: [1-9][\d,]* requests finished")
        code = terminal.wait()

    assert code == 0
    assert terminal.screen.shows_cursor
    assert read_run(tmp_path / "report").status == "complete"


def test_ctrl_z_leaves_the_screen_until_the_run_goes_on(on_terminal):
    """While the view is stopped, the normal screen is shown."""
    with on_terminal("--users", 1, "--duration", 60) as terminal:
        terminal.wait_for(r"[1-9]\d* finished")
        view = view_of(terminal)
        view.send_signal(signal.SIGTSTP)
        terminal.wait_for(lambda screen: not screen.is_alternate)
        until = time.monotonic() + 30
        while view.status() != psutil.STATUS_STOPPED and time.monotonic() < until:
            time.sleep(0.01)  # a SIGCONT before the stop would have no effect
        view.send_signal(signal.SIGCONT)
        terminal.wait_for(lambda screen: screen.is_alternate and "finished" in screen.text)


def test_a_run_outlives_a_terminal_that_closes(on_terminal, tmp_path):
    """SIGHUP ends the run with its report, although nobody can read the screen any more."""
    with on_terminal("--users", 1, "--duration", 60) as terminal:
        terminal.wait_for(r"[1-9]\d* finished")
        terminal.hang_up()
        terminal.process.wait(30)

    assert read_run(tmp_path / "report").stop_reason == "interrupted by SIGHUP"


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        pytest.param(["--plain"], {}, id="plain"),
        pytest.param(["--no-live"], {}, id="no-live"),
        pytest.param([], {"NO_COLOR": "1"}, id="no-color"),
        pytest.param([], {"TERM": "dumb"}, id="dumb"),
    ],
)
def test_a_terminal_gets_a_line_if_it_is_asked_for(on_terminal, flags, environment):
    """Flags and variables ask for the changing line; the alternate screen is never shown."""
    with on_terminal("--users", 1, "--duration", 1, *flags, **environment) as terminal:
        terminal.wait_for(r"\d s: [1-9][\d,]* requests finished, [\d,]+/s")
        code = terminal.wait()

    assert code == 0
    assert terminal.screen.last_alternate == ""
    assert "verdict " in terminal.screen.normal_text


def test_a_search_shows_its_steps(on_terminal):
    """The screen has the steps so far; they stay on the normal screen after the search."""
    search = ("--slo-ms", 1000, "--percentile", 90, "--start-rate", 100, "--step-seconds", 1)
    limits = ("--max-steps", 2, "--confirm-seconds", 1)
    with on_terminal(*search, *limits, command="find-capacity", size=(100, 40)) as terminal:
        terminal.wait_for(r"probe: 100 requests at 100.0/s\n  passed\nprobe: 200 requests at 200")
        assert terminal.screen.is_alternate
        terminal.wait()

    after = terminal.screen.normal_text
    assert "probe: 100 requests at 100.0/s\n  passed\nprobe: 200" in after
    assert "capacity    " in after


def test_a_log_has_percentiles_and_accuracy_in_its_lines(run, image_target):
    """Without a terminal a line comes after 1 s and then every 5 s, with figures so far."""
    result = run("--target", image_target, "--model", "cat", "--users", 1, "--duration", 6.5)

    lines = [text for text in result.stderr.splitlines() if " requests finished" in text]
    top1 = 100 * result.report.accuracy.top1
    assert result.exit_code == 0, result.stderr
    assert [text.partition(":")[0] for text in lines] == ["1 s", "6 s"]
    assert re.search(
        r"under way, p50 [\d.]+ ms, p90 [\d.]+ ms, p99 ([\d.]+ ms|n/a \(needs 662\)), "
        r"top-1 ([\d.]+) % of [\d,]+$",
        lines[1],
    )
    assert float(re.search(r"top-1 ([\d.]+) %", lines[1]).group(1)) == pytest.approx(top1, abs=2)
    assert "\x1b" not in result.stderr


def test_nothing_is_left_after_a_run(on_terminal):
    """The view's process ends with the run."""
    with on_terminal("--users", 1, "--duration", 1) as terminal:
        terminal.wait_for(r"[1-9]\d* finished")
        view = view_of(terminal)
        terminal.wait()

    assert not psutil.pid_exists(view.pid) or view.status() == psutil.STATUS_ZOMBIE
