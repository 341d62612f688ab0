import json

import pytest
from calling.rest_client import Http
from running import servers


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_failed_request_is_found_in_the_log(models_dir, log_format):
    """A failed request's id is in the log; with --log_format json every line is an object."""
    with servers.as_process(
        f"--models_dir={models_dir}", "--port=0", f"--log_format={log_format}"
    ) as server:
        port = server.wait_for(r"listening on 127\.0\.0\.1:(\d+)").group(1)
        server.wait_for("ready: ")
        rest = Http(f"127.0.0.1:{port}")
        status, _ = rest.post("/v1/models/fragile:predict", {"inputs": [7]}, x_request_id="abc-7")
        line = server.wait_for("abc-7").string
        code = server.terminate()

    assert (status, code) == (500, 0)
    # Every line has a time stamp, so h2corn's banner is not among them.
    start = '{"time": "20' if log_format == "json" else "20"
    assert [line for line in server.log if not line.startswith(start)] == []
    assert "INTERNAL in POST /v1/models/fragile:predict (request abc-7): the model failed" in line
    if log_format == "json":
        entries = [json.loads(line) for line in server.log]
        assert [entry["request_id"] for entry in entries if "request_id" in entry] == ["abc-7"]
