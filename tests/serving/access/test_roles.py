import pytest

from serving.access.roles import Role, open_roles
from serving.errors import ConfigError


def test_names_are_separated_by_commas():
    """Names are separated by commas, with or without spaces; no name opens nothing."""
    assert open_roles(" health, metrics,") == {Role.HEALTH, Role.METRICS}
    assert open_roles("") == frozenset()


@pytest.mark.parametrize("text", ["admin", "health,root", "HEALTH"])
def test_unknown_names_and_admin_are_refused(text):
    """An unknown name is refused, and so is admin, which always needs a key."""
    with pytest.raises(ConfigError, match="names out of health, metadata, metrics, predict"):
        open_roles(text)
