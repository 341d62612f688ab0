import pytest

from serving.errors import ConfigError
from serving.transport import channel_arguments


def test_whole_numbers_become_integers():
    """Whole numbers become int, every other value stays text."""
    assert channel_arguments.parse("a=1,b=-2,,c=x=y") == {"a": 1, "b": -2, "c": "x=y"}


def test_an_entry_without_a_value_is_refused():
    """An entry without a value is refused with ConfigError; TensorFlow Serving exits silently."""
    with pytest.raises(ConfigError, match="--grpc_channel_arguments has 'b', expected key=value"):
        channel_arguments.parse("a=1,b")
