"""REST requests before and after the handler, and long messages: http_server.cc."""

from tfs_parity import examples
from tfs_parity.pair import Answer, Deviation, Grpc, Ok, Pair, Refused, Rest, Status

CODE = "model_servers/http_server.cc"
MODEL = "/v1/models/test_model"
ONE = '{"instances": [1.0]}'
LONG = "a" * 2000
# The part of LONG that fits into 1024 characters behind the message's beginning.
CUT = LONG[: 1024 - len('Serving signature key "')]


def _pair(test: str, case: str, request: Rest | Grpc, answer: Answer, source: str = CODE) -> Pair:
    return Pair(source=source, test=test, case=case, request=request, answer=answer)


PAIRS = [
    _pair(
        "Dispatch",
        "a query",
        Rest(path=f"{MODEL}:predict?key=value", body=ONE),
        Ok({"predictions": [2.5]}),
    ),
    Pair(
        source=CODE,
        test="Dispatch",
        case="the root",
        request=Rest(method="GET", path="/"),
        answer=Status(404),
        deviation=Deviation(
            reason="`GET /` is a page for people: the models, and links to their metadata, to "
            "readiness and metrics.",
            answer=Status(200),
        ),
    ),
    _pair("Dispatch", "another version", Rest(path="/v3/models/test_model", body=ONE), Status(404)),
    _pair(
        "Dispatch",
        "in capitals",
        Rest(path=f"{MODEL.upper().replace('TEST_MODEL', 'test_model')}:predict", body=ONE),
        Ok({"predictions": [2.5]}),
    ),
    _pair(
        "ProcessRequest",
        "a slash at the end",
        Rest(method="GET", path=f"{MODEL}/"),
        Refused("INVALID_ARGUMENT", begins=f"Malformed request: GET {MODEL}/"),
    ),
    _pair(
        "ProcessRequest",
        "another content type",
        Rest(path=f"{MODEL}:predict", body=ONE, headers={"Content-Type": "text/plain"}),
        Ok({"predictions": [2.5]}),
    ),
    _pair(
        "ProcessRequest",
        "a preflight with an origin",
        Rest(
            method="OPTIONS", path=f"{MODEL}:predict", headers={"Origin": "http://localhost:8000"}
        ),
        Status(200),
    ),
    _pair(
        "ProcessRequest",
        "a preflight without an origin",
        Rest(method="OPTIONS", path=f"{MODEL}:predict"),
        Status(400),
    ),
    Pair(
        source=CODE,
        test="ProcessRequest",
        case="HEAD",
        request=Rest(method="HEAD", path=MODEL),
        answer=Status(400),
        deviation=Deviation(
            reason="HEAD is answered like GET without the body, as HTTP requires.",
            answer=Status(200),
        ),
    ),
    _pair(
        "ProcessRequest",
        "a long message",
        Rest(path=f"{MODEL}:predict", body=f'{{"signature_name": "{LONG}", "instances": [1]}}'),
        Refused(
            "INVALID_ARGUMENT",
            begins=f'Serving signature name: "{LONG}" not found in signature def',
        ),
    ),
    _pair(
        "ToGRPCStatus",
        "a long message",
        Grpc(method="Predict", message=examples.spec("test_model", LONG)),
        Refused("FAILED_PRECONDITION", begins=f'Serving signature key "{CUT}...TRUNCATED'),
        source="model_servers/grpc_status_util.cc",
    ),
    Pair(
        source="core/basic_manager.cc",
        test="GetUntypedServableHandle",
        case="a version that could not be loaded",
        request=Grpc(method="Predict", message=examples.spec("half_broken", version=124)),
        answer=Refused(
            "NOT_FOUND", begins="Servable not found for request: Specific(half_broken, 124)"
        ),
        deviation=Deviation(
            reason="A configured version that is not loaded, because it is still loading or has "
            "failed, is UNAVAILABLE, and the message says why, so that clients retry.",
            answer=Refused(
                "UNAVAILABLE",
                begins="Servable is not available for request: Specific(half_broken, 124); "
                "version 124 is END: ",
            ),
        ),
    ),
    _pair(
        "GetUntypedServableHandle",
        "the version that is loaded beside it",
        Rest(path="/v1/models/half_broken:predict", body=ONE),
        Ok({"predictions": [2.5]}),
        source="core/basic_manager.cc",
    ),
]
