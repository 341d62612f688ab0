import pytest

from loadtest.load.replay import Replay
from loadtest.load.scenarios import settle
from loadtest.load.shapes import Shape
from loadtest.settings.arguments import parse_run
from loadtest.settings.config import UsageError

TARGET = ["--target", "localhost:8500", "--model", "m"]


def settled(*flags: str):
    return settle(parse_run([*TARGET, *flags]), 10_000)


@pytest.fixture
def traffic(tmp_path):
    """Two requests of two images each, in a second."""
    file = tmp_path / "day.csv"
    file.write_text("time,images\n0,9 1\n1,2 2\n")
    return str(file)


def test_a_shape_is_an_open_loop_of_its_mean_rate():
    """The scenario is server without --rate, and the arrivals are those of the shape."""
    load = settled("--shape", "ramp:0..100", "--duration", "20", "--schedule-seed", "3")

    assert (load.kind, load.loop) == ("server", "open")
    assert isinstance(load.plan.course, Shape)
    assert load.plan.rate_per_second == 50
    assert load.description == (
        "open loop, Poisson arrivals, ramp from 0 to 100 requests/s in 20 s"
    )
    drawn = load.plan.course.arrivals(3)
    assert load.plan.schedule().due_ns.tolist() == drawn.due_ns.tolist()
    assert load.ends == f"{len(drawn):,} requests"


def test_a_replay_brings_its_batch_its_images_and_its_end(traffic):
    """The load has as many requests as the file, with its images and batch."""
    load = settled("--replay", traffic, "--speed", "2")

    assert isinstance(load.plan.course, Replay)
    assert (load.kind, load.batch, load.plan.requests) == ("server", 2, 2)
    assert load.images.tolist() == [[9, 1], [2, 2]]
    assert load.ends == "0.5 seconds"
    assert load.plan.schedule().due_ns.tolist() == [0, 500_000_000]


def test_an_image_that_is_not_there_is_refused(tmp_path):
    """A recording of other images names the first missing one."""
    file = tmp_path / "day.csv"
    file.write_text("time,images\n0,10000\n")

    with pytest.raises(UsageError, match="names test image 10000, but there are 10,000"):
        settled("--replay", str(file))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--scenario", "server"],
            "needs --rate, the mean number of requests a second, or --shape",
        ),
        (["--shape", "ramp:1..2"], "--shape ramp:1..2 needs --duration"),
        (["--shape", "ramp:1..2", "--requests", "5"], "needs --duration"),
        (["--shape", "ramp:1..2", "--duration", "5", "--rate", "3"], "--rate and --shape given"),
        (["--shape", "ramp:1..2", "--duration", "5", "--scenario", "users"], "is a closed loop"),
        (["--shape", "bursts:1,2,3,9", "--duration", "5"], "no room for a burst"),
        (["--rate", "5", "--speed", "2"], "--speed given without --replay"),
        (["--replay", "nothing.csv"], "cannot read recorded traffic"),
        (["--replay", "nothing.csv", "--scenario", "offline"], "--replay given, but"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags, words):
    """A course that cannot be, or that a scenario would ignore, raises UsageError."""
    with pytest.raises(UsageError) as refused:
        settled(*flags)

    assert words in str(refused.value)
