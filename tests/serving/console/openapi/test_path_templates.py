"""Path templates from the patterns of routes."""

import re

import pytest

from serving.console.openapi.path_templates import expand
from serving.protocols.tfs.model_paths import model_route


def test_a_model_route_has_a_path_for_version_and_label():
    """Each form of the path is one template, with the values that its parameters take."""
    found = expand(model_route(":predict"))

    assert [each.path for each in found] == [
        "/v1/models/{name}:predict",
        "/v1/models/{name}/versions/{version}:predict",
        "/v1/models/{name}/labels/{label}:predict",
    ]
    assert found[1].parameters == (("name", "[^/:]+"), ("version", r"\d+"))


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        (r"/v2/?", ["/v2"]),
        ("/", ["/"]),
        (r"/openapi\.json", ["/openapi.json"]),
        (r"(?i:/v1/models)", ["/v1/models"]),
        (r"/a(?:/b|/c/(?P<d>[^/]+))?/e", ["/a/e", "/a/b/e", "/a/c/{d}/e"]),
        (r"/a/(?:x|y)", ["/a/x", "/a/y"]),
    ],
)
def test_optional_parts_and_alternatives_become_paths(pattern, paths):
    """A slash at the end that may be left out is left out."""
    assert [each.path for each in expand(re.compile(pattern))] == paths


@pytest.mark.parametrize(
    "pattern", [r"/v1/\d+", "/a[bc]", "/a.c", "/a(b)", "/a+", r"/(?:a(?=b)|c)"]
)
def test_a_pattern_with_another_feature_is_an_error(pattern):
    """Nothing is described wrongly; the message names the pattern and the place."""
    with pytest.raises(ValueError, match="cannot express") as caught:
        expand(re.compile(pattern))

    assert repr(pattern) in str(caught.value)
