import pytest

from serving.access import subject
from serving.errors import ConfigError


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # As h2corn and as OpenSSL write the same certificate.
        (
            r"EMAIL=a@b.c,CN=trainer,OU=Üb,O=Exa\, mple",
            r"emailAddress=a@b.c,CN=trainer,OU=\C3\9Cb,O=Exa\, mple",
        ),
        ("CN=a,O=b", "cn=a, o=b"),
        ("CN=a+UID=7,O=b", "UID=7+CN=a,O=b"),
        (r"CN=a\2Cb", r"CN=a\,b"),
    ],
)
def test_forms_of_one_subject_are_equal(one, other):
    """Two ways to write one subject give the same result."""
    assert subject.parse(one) == subject.parse(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CN=a,O=b", "O=b,CN=a"),
        ("CN=a", "CN=A"),
        ("CN=a,O=b", r"CN=a\,O=b"),
        ("CN=a,O=b", "CN=a+O=b"),
        ("CN=a", "CN=a,CN=a"),
        ("CN=a", "O=a"),
    ],
)
def test_other_subjects_differ(one, other):
    """Order, case of values, escapes and types of attributes distinguish subjects."""
    assert subject.parse(one) != subject.parse(other)


@pytest.mark.parametrize("text", ["", "a", "CN=a,", "CN=a,b", "=a", ",CN=a", "CN=a\\"])
def test_what_is_no_subject_is_refused(text):
    """A text that RFC 4514 does not allow is refused with an example."""
    with pytest.raises(ConfigError, match="CN=trainer,O=Example"):
        subject.parse(text)
