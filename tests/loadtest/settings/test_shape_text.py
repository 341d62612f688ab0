import pytest

from loadtest.settings.shape_text import parse


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("constant", ()),
        ("ramp:0..200", (0, 200)),
        ("ramp:200..0.5", (200, 0.5)),
        ("steps:50,100,200", (50, 100, 200)),
        ("bursts:50,400,2,10", (50, 400, 2, 10)),
        ("day:20..200", (20, 200)),
    ],
)
def test_every_form_gives_its_numbers(text, numbers):
    """The kind is the first word, and the numbers are in the order of the text."""
    found = parse(text)

    assert (found.text, found.kind, found.numbers) == (text, text.partition(":")[0], numbers)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wave:1..2", "expected one of constant, ramp:FROM..TO"),
        ("ramp", "expected one of"),
        ("constant:5", "expected one of"),
        ("ramp:5", "expected ramp:FROM..TO"),
        ("ramp:1..2..3", "expected ramp:FROM..TO"),
        ("ramp:-1..2", "numbers of 0 or more"),
        ("ramp:0..inf", "numbers of 0 or more"),
        ("ramp:0..0", "a rate above 0"),
        ("steps:50", "expected steps:RATE,RATE"),
        ("bursts:50,400,2", "expected bursts:BASE,BURST,LENGTH,INTERVAL"),
        ("bursts:50,400,10,10", "a LENGTH above 0 and below INTERVAL"),
        ("bursts:0,0,1,10", "a rate above 0"),
        ("day:200..20", "a TROUGH of at most PEAK"),
    ],
)
def test_another_text_is_refused_with_the_form(text, words):
    """A wrong shape raises ValueError with what was received and the form that was expected."""
    with pytest.raises(ValueError, match="received") as refused:
        parse(text)

    assert words in str(refused.value)
    assert repr(text) in str(refused.value)
