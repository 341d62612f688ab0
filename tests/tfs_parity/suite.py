"""All pairs, and the part of docs/parity.md that is written from them."""

from collections import Counter
from pathlib import Path

from tfs_parity import metadata_pairs, reload_pairs, status_pairs
from tfs_parity.inference import (
    classify_pairs,
    multi_inference_pairs,
    predict_pairs,
    predict_tensor_pairs,
    regress_pairs,
)
from tfs_parity.pair import Pair
from tfs_parity.rest import (
    json_answer_pairs,
    json_error_pairs,
    json_example_pairs,
    json_reading_pairs,
    json_request_pairs,
    rest_handler_pairs,
    rest_path_pairs,
    rest_server_pairs,
)

PAGE = Path(__file__).parents[2] / "docs" / "parity.md"
BEGIN = "<!-- Written by `make test PARITY_DOCS=1`; do not edit. -->"
END = "<!-- End of what the suite writes. -->"
PAIRS: list[Pair] = [
    pair
    for module in (
        predict_pairs,
        predict_tensor_pairs,
        classify_pairs,
        regress_pairs,
        multi_inference_pairs,
        json_request_pairs,
        json_error_pairs,
        json_reading_pairs,
        json_answer_pairs,
        json_example_pairs,
        rest_handler_pairs,
        rest_path_pairs,
        rest_server_pairs,
        reload_pairs,
        metadata_pairs,
        status_pairs,
    )
    for pair in module.PAIRS
]
# The least number of pairs in each area, and the files of TensorFlow Serving that it covers.
AREAS: dict[str, tuple[int, tuple[str, ...]]] = {
    "Predict": (
        15,
        (
            "servables/tensorflow/predict_util_test.cc",
            "servables/tensorflow/predict_impl_test.cc",
            "servables/tensorflow/predict_util.cc",
        ),
    ),
    "Classify": (
        15,
        ("servables/tensorflow/classifier_test.cc", "servables/tensorflow/classifier.cc"),
    ),
    "Regress": (
        15,
        ("servables/tensorflow/regressor_test.cc", "servables/tensorflow/regressor.cc"),
    ),
    "MultiInference": (
        15,
        (
            "servables/tensorflow/multi_inference_test.cc",
            "servables/tensorflow/multi_inference_helper_test.cc",
            "servables/tensorflow/multi_inference.cc",
        ),
    ),
    "JSON": (60, ("util/json_tensor_test.cc", "util/json_tensor.cc")),
    "REST": (
        15,
        (
            "model_servers/http_rest_api_handler_test.cc",
            "model_servers/http_rest_api_util_test.cc",
            "model_servers/http_rest_api_handler.cc",
            "model_servers/http_server.cc",
        ),
    ),
    "Models and reload": (
        15,
        (
            "model_servers/server_core_test.cc",
            "model_servers/server_core.cc",
            "model_servers/model_service_impl.cc",
            "core/basic_manager.cc",
        ),
    ),
    "GetModelMetadata": (15, ("servables/tensorflow/get_model_metadata_impl_test.cc",)),
    "GetModelStatus and the server as a whole": (
        15,
        (
            "model_servers/get_model_status_impl_test.cc",
            "model_servers/get_model_status_impl.cc",
            "model_servers/tensorflow_model_server_test.py",
            "model_servers/grpc_status_util.cc",
        ),
    ),
}


def counts() -> dict[str, int]:
    """Return how many pairs each area has."""
    by_source = Counter(pair.source for pair in PAIRS)
    return {
        area: sum(by_source[source] for source in sources) for area, (_, sources) in AREAS.items()
    }


def table() -> str:
    """Return the text between `BEGIN` and `END` in docs/parity.md."""
    lines = ["| area | sources, below `tensorflow_serving/` | pairs |", "|---|---|---|"]
    for area, count in counts().items():
        sources = ", ".join(f"`{source}`" for source in AREAS[area][1])
        lines.append(f"| {area} | {sources} | {count} |")
    lines += [f"| all | | {len(PAIRS)} |", "", "| what and why | asked by |", "|---|---|"]
    asked: dict[str, list[str]] = {}
    for pair in PAIRS:
        if pair.deviation:
            case = f" ({pair.case})" if pair.case else ""
            place = f"`{pair.source}`: `{pair.test}`{case}"
            asked.setdefault(pair.deviation.reason, []).append(place)
    lines += [f"| {reason} | {'; '.join(places)} |" for reason, places in asked.items()]
    return "\n".join(lines)


def write_page() -> None:
    """Write the table into docs/parity.md."""
    page = PAGE.read_text()
    head, rest = page.split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}")
