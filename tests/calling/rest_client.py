"""Plain HTTP requests to a server under test."""

import http.client
import json


class Http:
    """Plain HTTP requests to a server."""

    def __init__(self, address: str) -> None:
        self._address = address

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str):
        """Send a request; return status, headers by lower-case name, and body."""
        connection = http.client.HTTPConnection(self._address, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=named)
            response = connection.getresponse()
            answered = {name.lower(): value for name, value in response.getheaders()}
            return response.status, answered, response.read()
        finally:
            connection.close()

    def post(self, path: str, document: object, **headers: str) -> tuple[int, object]:
        """Send a POST; return status and JSON of the answer."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        status, _, answer = self.ask("POST", path, body, **headers)
        return status, json.loads(answer)

    def get(self, path: str) -> tuple[int, object]:
        """Send a GET; return status and JSON of the answer."""
        status, _, answer = self.ask("GET", path)
        return status, json.loads(answer)
