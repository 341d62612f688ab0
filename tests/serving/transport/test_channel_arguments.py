import pytest

from serving.errors import ConfigError
from serving.transport import channel_arguments


def test_whole_numbers_become_integers():
    """The library takes a number for what is one, and a text for the rest."""
    assert channel_arguments.parse("a=1,b=-2,,c=x=y") == {"a": 1, "b": -2, "c": "x=y"}


def test_an_entry_without_a_value_is_refused():
    """TensorFlow Serving ends without a word there."""
    with pytest.raises(ConfigError, match="--grpc_channel_arguments has 'b', expected key=value"):
        channel_arguments.parse("a=1,b")
