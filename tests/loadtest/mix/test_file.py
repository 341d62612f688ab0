import textwrap
from pathlib import Path

import pytest

from loadtest.mix import file
from loadtest.settings.config import UsageError

HEAD = 'duration = 5\n[target]\naddress = "localhost:8500"\n'
STREAM = '[[streams]]\nmodel = "cat"\nrate = 5\n'


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a mix file."""

    def made(text: str) -> Path:
        path = tmp_path / "mix.toml"
        path.write_text(textwrap.dedent(text))
        return path

    return made


def commands(mix: file.Mix) -> list[str]:
    return [" ".join(stream.command(mix)) for stream in mix.streams]


def test_streams_get_their_share_of_the_rate(write):
    """A share is a part of the file's rate; a stream may have its own rate, or a shape."""
    found = file.read(
        write("""
        rate = 200
        duration = 30
        repeats = 2
        [target]
        serve = ["--device=cpu"]
        [defaults]
        slo-ms = 50
        [[streams]]
        name = "small"
        model = "simcnn"
        share = 0.9
        [[streams]]
        model = "resnet50"
        share = 0.1
        batch = 8
        gate = true
        [[streams]]
        name = "own"
        model = "simcnn"
        shape = "ramp:1..9"
        slo-ms = 20
    """)
    )

    file.check(found)
    assert (found.name, found.repeats, found.target.serve) == ("mix", 2, ("--device=cpu",))
    assert [stream.name for stream in found.streams] == ["small", "resnet50", "own"]
    assert commands(found) == [
        "--slo-ms=50 --rate=180 --duration=30",
        "--slo-ms=50 --batch=8 --gate --rate=20 --duration=30",
        "--slo-ms=20 --shape=ramp:1..9 --duration=30",
    ]
    assert commands(file.changed(found, rate=20.0, duration=None))[0].endswith(
        "--rate=18 --duration=30"
    )


def test_recorded_traffic_gives_a_stream_for_each_model_and_batch(write, tmp_path):
    """Each stream replays its requests of the same file, with the defaults."""
    traffic = tmp_path / "day.csv"
    traffic.write_text("time,model,batch\n1,b,1\n2,a,8\n3,a,1\n")

    found = file.read(
        write(f"""
        replay = "{traffic}"
        speed = 2
        [target]
        address = "localhost:8500"
        [defaults]
        slo-ms = 50
    """)
    )

    file.check(found)
    assert [(stream.name, stream.model) for stream in found.streams] == [
        ("a batch 1", "a"),
        ("a batch 8", "a"),
        ("b batch 1", "b"),
    ]
    assert commands(found)[1] == f"--slo-ms=50 --replay={traffic} --speed=2 --batch=8"


def test_traffic_without_models_needs_one(tmp_path):
    """A file that names no model gets the model of the command line, or is refused."""
    traffic = tmp_path / "day.csv"
    traffic.write_text("time\n1\n2\n")

    (stream,) = file.of_replay(traffic, None, "cat")

    assert (stream.name, stream.model, stream.flags) == ("cat", "cat", (f"--replay={traffic}",))
    with pytest.raises(UsageError, match="names no model, expected a column model, or --model"):
        file.of_replay(traffic, None, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("duration = ", "cannot read a mix from", id="no-toml"),
        pytest.param(HEAD, "no [[streams]]", id="no-streams"),
        pytest.param("durations = 5\n" + HEAD + STREAM, "unknown keys", id="typo"),
        pytest.param("duration = 0\n" + STREAM, "expected a number above 0", id="no-time"),
        pytest.param("speed = 2\n" + HEAD + STREAM, "speed given without replay", id="speed"),
        pytest.param("model = 'a'\n" + HEAD + STREAM, "model given without replay", id="model"),
        pytest.param("repeats = 0\n" + HEAD + STREAM, "repeats 0", id="no-repeats"),
        pytest.param(HEAD + "[[streams]]\nrate = 5\n", "streams 1 has no model", id="no-model"),
        pytest.param(HEAD + "[[streams]]\nmodel = 'cat'\n", "open loops only", id="no-rate"),
        pytest.param(HEAD + STREAM + "scenario = 'users'\n", "is a closed loop", id="closed"),
        pytest.param(HEAD + STREAM + "share = 1\n", "the file has no rate", id="no-total"),
        pytest.param(HEAD + STREAM + "seed = 1\n", "the mix itself sets", id="own-flag"),
        pytest.param(HEAD + STREAM + "requests = 1\n", "the mix itself sets", id="own-end"),
        pytest.param(HEAD + STREAM + "floor = true\n", "share the processor", id="floor"),
        pytest.param(HEAD + STREAM + "save-samples = 'a.npz'\n", "raw.npz", id="samples"),
        pytest.param(HEAD + STREAM + "batch = 'many'\n", "wrong command line", id="flag"),
        pytest.param(HEAD + STREAM + STREAM, "are the same load", id="twins"),
        pytest.param(HEAD + STREAM + STREAM + "batch = 2\n", "different names", id="names"),
        pytest.param(STREAM, "has no end: expected a duration", id="no-end"),
        pytest.param("schema_version = 2\n" + HEAD + STREAM, "newer than this", id="newer"),
        pytest.param(
            "rate = 9\n" + HEAD + "[[streams]]\nmodel = 'cat'\nshare = 0.7\n",
            "the shares add up to 0.7, expected 1",
            id="shares",
        ),
        pytest.param(
            "rate = 9\n" + HEAD + STREAM + "share = 1\n", "a share and a rate", id="two-rates"
        ),
        pytest.param(
            HEAD.replace("address", "precisions = ['fp32', 'int8']\nserve = []\n#") + STREAM,
            "a mix has one server",
            id="precisions",
        ),
        pytest.param(
            HEAD.replace("address", "#") + STREAM, "needs either address or serve", id="no-address"
        ),
    ],
)
def test_mistakes_are_refused_before_anything_is_sent(write, text, words, capsys):
    """The message names the place and what was expected."""
    with pytest.raises(UsageError) as refused:
        file.check(file.read(write(text)))

    assert words in f"{refused.value} {capsys.readouterr().err}"
