"""Paths of the REST API: http_rest_api_util_test.cc on models with the names of its test.

The test parses paths. Here each path is requested, and the answer shows how it was parsed.
"""

from tfs_parity.pair import Answer, Deviation, Ok, Pair, Refused, Rest
from tfs_parity.rest.rest_handler_pairs import LARGEST

TEST = "model_servers/http_rest_api_util_test.cc"
RESERVED = "%21%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D"
NAME, LABEL = f"modelname{RESERVED}", f"latest{RESERVED}"
GET, POST = "TestParseModelInfoForGet", "TestParseModelInfoForPost"
ONE, ANSWER = '{"instances": [1.0]}', Ok({"predictions": [2.5]})
NO_NUMBER = f"Failed to convert version: {LARGEST} to numeric."
SILENT = (
    "A version number that int64 cannot hold is refused with a message; TensorFlow Serving makes "
    "the same message, but sends an empty body."
)


def _available(version: int) -> Ok:
    status = {"error_code": "OK", "error_message": ""}
    entry = {"version": str(version), "state": "AVAILABLE", "status": status}
    return Ok({"model_version_status": [entry]})


def _get(case: str, path: str, answer: Answer) -> Pair:
    request = Rest(method="GET", path=path)
    return Pair(source=TEST, test=GET, case=case, request=request, answer=answer)


def _post(case: str, path: str, answer: Answer = ANSWER) -> Pair:
    return Pair(source=TEST, test=POST, case=case, request=Rest(path=path, body=ONE), answer=answer)


def _malformed(method: str, path: str) -> Pair:
    refused = Refused("INVALID_ARGUMENT", begins=f"Malformed request: {method} {path}")
    return (_get if method == "GET" else _post)(f"malformed {path[4:]}", path, refused)


PAIRS = [
    _get("reserved characters in the name", f"/v1/models/{NAME}", _available(123)),
    _get("version", "/v1/models/modelname/versions/99", _available(99)),
    _get("label", "/v1/models/modelname/labels/latest", _available(99)),
    _get(
        "reserved characters in the label", f"/v1/models/modelname/labels/{LABEL}", _available(99)
    ),
    _get("reserved characters in both", f"/v1/models/{NAME}/labels/{LABEL}", _available(123)),
    *(
        _malformed("GET", f"/v1/{path}")
        for path in ("foo", "models/foo:predict", "models/foo/version/50:predict")
    ),
    _post("reserved characters in the name", f"/v1/models/{NAME}:predict"),
    _post("version", "/v1/models/modelname/versions/99:predict"),
    _post("label", "/v1/models/modelname/labels/latest:predict"),
    _post("reserved characters in the label", f"/v1/models/modelname/labels/{LABEL}:predict"),
    _post("reserved characters in both", f"/v1/models/{NAME}/labels/{LABEL}:predict"),
    *(
        _malformed("POST", f"/v1/{path}")
        for path in (
            "foo",
            "models",
            "models/foo/version/50:predict",
            "models/foo/versions/string:predict",
            "models/foo/metadata",
            "models/foo/versions/50/labels/some_label:regress",
        )
    ),
    Pair(
        source=TEST,
        test=POST,
        case="a version that int64 cannot hold",
        request=Rest(path=f"/v1/models/foo/versions/{LARGEST}:predict", body=ONE),
        answer=Refused("INVALID_ARGUMENT"),
        deviation=Deviation(reason=SILENT, answer=Refused("INVALID_ARGUMENT", begins=NO_NUMBER)),
    ),
]
