"""A connection to KServe's REST routes, and requests to send on it."""

import http.client
import json

import numpy as np

INFER = "/v2/models/identity/infer"
X = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
BINARY_X = {
    "name": "x",
    "datatype": "FP32",
    "shape": [1, 3],
    "parameters": {"binary_data_size": 12},
}
CONTENT = np.array([1, 2, 3], np.float32).tobytes()
ADD = [
    {"name": "a", "datatype": "INT64", "shape": [1], "data": [5]},
    {"name": "b", "datatype": "INT64", "shape": [1], "data": [3]},
]


class Connection:
    """An HTTP connection that sends requests and parses their answers."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=10)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def send(self, method: str, path: str, body: bytes = b"", **headers: str):
        """Send a request; return status, headers and body of its answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, named)
        response = self._connection.getresponse()
        return response.status, response.headers, response.read()

    def get(self, path: str) -> tuple[int, dict]:
        """Send a GET; return status and JSON of its answer."""
        status, _, body = self.send("GET", path)
        return status, json.loads(body)

    def post(self, path: str, document: object) -> tuple[int, dict]:
        """Send a JSON request; return status and JSON of its answer."""
        status, headers, body = self.send("POST", path, json.dumps(document).encode())
        assert headers["content-type"] == "application/json"
        return status, json.loads(body)

    def post_binary(self, path: str, document: object, content: bytes):
        """Send a request with binary data; return status, JSON and binary data of its answer."""
        header = json.dumps(document).encode()
        status, headers, body = self.send(
            "POST", path, header + content, Inference_Header_Content_Length=str(len(header))
        )
        end = int(headers.get("Inference-Header-Content-Length", len(body)))
        return status, json.loads(body[:end]), body[end:]
