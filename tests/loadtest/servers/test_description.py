from loadtest.servers import description

METRICS_PAGE = """\
# HELP :tensorflow:serving:request_count The total number of requests.
:tensorflow:serving:request_count{model_name="cat",status="OK"} 7
onnx_serving_batches{model_name="cat",version="1",device="cpu",precision="fp32"} 3
onnx_serving_batches{model_name="cat",version="12",device="cuda",precision="w8"} 3
onnx_serving_batches{model_name="cat",version="2",device="cpu",precision="fp32"} 3
onnx_serving_build_info{version="0.1.0",onnxruntime_version="1.32.0",provider="CPU"} 1
"""


def test_the_latest_version_is_read_from_the_metrics_page():
    """`read` returns precision and provider of the highest version, and the server's versions."""
    says = description.read(METRICS_PAGE)

    assert says.models == {"cat": description.ServedModel(12, "w8", "CUDAExecutionProvider")}
    assert says.versions == {"onnx-serving": "0.1.0", "onnxruntime": "1.32.0"}


def test_another_server_says_nothing():
    """`ask` returns empty fields if the page or the server does not exist."""
    assert description.ask("localhost:1") == description.Served({}, {})
    assert description.read("<html>404</html>") == description.Served({}, {})


def test_a_real_server_says_what_it_serves(image_target):
    """`ask` reads the page on the gRPC port of this project's server."""
    says = description.ask(image_target)

    assert says.models["cat"] == description.ServedModel(1, "fp32", "CPUExecutionProvider")
    assert set(says.models) == {"cat", "echo", "picky"}
    assert says.versions["onnxruntime"][0].isdigit()
