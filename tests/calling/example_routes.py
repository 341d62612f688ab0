"""REST paths and features of the model `numbers` of `example_models`."""

import base64

CLASSIFY, REGRESS = "/v1/models/numbers:classify", "/v1/models/numbers:regress"
BY_SIGNATURE = {"signature_name": "classify"}
ONE = {"x": [1.0, 2.0]}


def binary(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}
