"""Tests of TensorFlow Serving users' SavedModels, run by TensorFlow behind every API."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from calling import every_protocol
from calling.rest_client import Http
from running import servers
from sample_models import tiny_models
from sample_saved_models import tensorflow1_models, tensorflow_models
from sample_saved_models.saved_model_questions import CALLERS, EXAMPLES, QUESTIONS, assert_same
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.client import AsyncPredictClient, PredictClient, PredictError


@pytest.fixture(scope="module")
def saved_models(tmp_path_factory):
    """A folder with SavedModels and an ONNX model."""
    folder = tmp_path_factory.mktemp("saved_models")
    for name in (
        *QUESTIONS,
        "examples",
        "failing",
        "element_types",
        "mixed_rows",
        "complex_numbers",
    ):
        getattr(tensorflow_models, name)(folder / name / "1")
    tensorflow_models.in_text(tensorflow_models.dense(folder / "text" / "1"))
    tensorflow1_models.half_plus(folder / "half_plus_two" / "00000123")
    tensorflow1_models.mnist(folder / "mnist" / "1")
    tiny_models.add(folder)
    return folder


@pytest.fixture(scope="module")
def address(saved_models):
    """Address of a server of that folder."""
    with servers.in_this_process(saved_models) as started:
        yield started


@pytest.fixture(scope="module")
def expected(saved_models):
    """TensorFlow's answers by model name."""
    answers = {}
    for name, inputs in QUESTIONS.items():
        call = tf.saved_model.load(str(saved_models / name / "1")).signatures["serving_default"]
        tensors = {alias: tf.constant(array) for alias, array in inputs.items()}
        answers[name] = {alias: tensor.numpy() for alias, tensor in call(**tensors).items()}
    return answers


def _as_bytes(array):
    """Return an array of text as an array of bytes, which TensorFlow has."""
    if array.dtype.kind != "O":
        return array
    texts = [text.encode() if isinstance(text, str) else text for text in array.flat]
    return np.array(texts, object).reshape(array.shape)


@pytest.mark.parametrize("callers", [1, CALLERS])
@pytest.mark.parametrize("name", QUESTIONS)
def test_answers_are_tensorflows(address, expected, name, callers):
    """Strings, tables, ragged rows and numbers get TensorFlow's answers, for 1 and 24 callers."""

    async def ask():
        async with AsyncPredictClient(address) as client:
            return [
                answer
                for _ in range(3)
                for answer in await asyncio.gather(
                    *(client.predict(name, QUESTIONS[name]) for _ in range(callers))
                )
            ]

    answers = asyncio.run(ask())

    assert len(answers) == 3 * callers
    for answer in answers:
        assert_same(answer, expected[name])


@pytest.mark.parametrize("protocol", ["tfs_grpc", "kserve_grpc"])
@pytest.mark.parametrize("name", sorted(QUESTIONS.keys() - {"text_classifier"}))
def test_both_grpc_protocols_answer_as_tensorflow(address, expected, name, protocol):
    """TensorFlow Serving's and KServe's gRPC APIs get the same values."""
    inputs = {
        alias: np.array([text.decode() for text in array], object) if array.dtype == "O" else array
        for alias, array in QUESTIONS[name].items()
    }
    with getattr(every_protocol, protocol)(address) as ask:
        answer = ask(name, inputs, expected[name])

    assert_same(
        {alias: _as_bytes(array) for alias, array in answer.items()},
        expected[name],
    )


def test_rest_answers_strings_as_text(address):
    """A string output is text in JSON, the same for 24 concurrent callers."""

    def ask(_):
        return Http(address).post("/v1/models/lookup:predict", {"instances": ["kg", "größe"]})

    with ThreadPoolExecutor(CALLERS) as pool:
        answers = list(pool.map(ask, range(CALLERS)))

    assert answers == [
        (
            200,
            {"predictions": [{"ids": 1, "upper": "KG"}, {"ids": 0, "upper": "GRößE"}]},
        )
    ] * len(answers)


def test_half_plus_two_unconverted(address):
    """Without conversion, half_plus_two answers as in TensorFlow Serving's README.

    Its graph has reference variables and an old parsing operator.
    """
    http = Http(address)

    predicted = http.post("/v1/models/half_plus_two:predict", {"instances": [[1.0], [2.0], [5.0]]})
    scalars = http.post("/v1/models/half_plus_two:predict", {"instances": [1.0, 2.0, 5.0]})
    regressed = http.post(
        "/v1/models/half_plus_two:regress",
        {"signature_name": "regress_x_to_y", "examples": [{"x": 1.0}, {"x": 2.0}]},
    )
    status = http.get("/v1/models/half_plus_two")

    assert predicted == (200, {"predictions": [[2.5], [3.0], [4.5]]})
    assert scalars == (200, {"predictions": [2.5, 3.0, 4.5]})
    assert regressed == (200, {"results": [2.5, 3.0]})
    assert status[1]["model_version_status"][0]["version"] == "123"
    assert status[1]["model_version_status"][0]["state"] == "AVAILABLE"


def test_a_saved_model_in_text(address, expected):
    """A version with saved_model.pbtxt and without saved_model.pb is served."""
    with PredictClient(address) as client:
        answer = client.predict("text", QUESTIONS["dense"])

    assert_same(answer, expected["dense"])


@pytest.mark.parametrize("callers", [1, CALLERS])
def test_examples_are_parsed_in_the_graph(address, callers):
    """Classify, Regress and MultiInference send examples as strings, which the graph parses.

    The example without `unit` gets the default `kg`.
    """
    weights = np.float32([[1.0, -1.0], [0.5, 2.0]])
    products = np.float32([[1.0, 2.0], [-0.5, 0.25]]) @ weights
    scores = tf.nn.softmax(products).numpy()
    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name = "examples"
    regress = regression_pb2.RegressionRequest()
    regress.model_spec.name = "examples"
    regress.model_spec.signature_name = "regress"
    both = inference_pb2.MultiInferenceRequest()
    for name, method in (("", "classify"), ("regress", "regress")):
        task = both.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = "examples"
        task.model_spec.signature_name = name
    for request in (classify, regress, both):
        for serialized in EXAMPLES:
            request.input.example_list.examples.add().ParseFromString(serialized)

    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(callers) as pool:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        calls = [
            (
                pool.submit(stub.Classify, classify, timeout=20),
                pool.submit(stub.Regress, regress, timeout=20),
                pool.submit(stub.MultiInference, both, timeout=20),
            )
            for _ in range(callers)
        ]
        answers = [[call.result() for call in each] for each in calls]

    for classified, regressed, inferred in answers:
        rows = classified.result.classifications
        assert [[one.label for one in row.classes] for row in rows] == [["m", "M"], ["kg", "KG"]]
        np.testing.assert_allclose(
            [[one.score for one in row.classes] for row in rows], scores, rtol=1e-6
        )
        values = [one.value for one in regressed.result.regressions]
        np.testing.assert_allclose(values, products.sum(axis=1), rtol=1e-6)
        assert inferred.results[0].classification_result == classified.result
        assert inferred.results[1].regression_result == regressed.result


def test_serialized_examples_may_be_predicted_on(address):
    """Predict takes serialized examples as a string input."""
    with PredictClient(address) as client:
        answer = client.predict("examples", {"inputs": np.array(EXAMPLES, object)})

    assert answer["classes"].tolist() == [[b"m", b"M"], [b"kg", b"KG"]]


def test_the_mnist_tutorials_digits_unconverted(address):
    """The MNIST tutorial's model answers unconverted: Classify sorts the labels by score."""
    picture = tensorflow1_models.pictures([7], np.random.default_rng(3))
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "mnist"
    example = tensorflow1_models.example(x=picture[0])
    request.input.example_list.examples.add().ParseFromString(example)

    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        classes = stub.Classify(request, timeout=20).result.classifications[0].classes
    with PredictClient(address) as client:
        scores = client.predict("mnist", {"images": picture}, signature_name="predict_images")

    assert classes[0].label == "7"
    assert int(scores["scores"].argmax()) == 7
    np.testing.assert_allclose(
        [one.score for one in classes], np.sort(scores["scores"][0])[::-1], rtol=1e-6
    )


def test_an_omitted_input_gets_its_default(address):
    """An omitted input gets the default of the SignatureDef."""
    with PredictClient(address) as client:
        answer = client.predict("scaled", {"x": np.float32([[1, 2, 3]])})

    assert answer["y"].tolist() == [[2.5, 4.5, 6.5]]


def test_metadata_is_the_saved_models(address, saved_models):
    """GetModelMetadata has the graph's own tensors; KServe's platform is tensorflow."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "half_plus_two"
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.GetModelMetadata(request, timeout=20).metadata["signature_def"]
    found = get_model_metadata_pb2.SignatureDefMap()
    answer.Unpack(found)
    folder = saved_models / "half_plus_two" / "00000123"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
    kserve = Http(address).get("/v2/models/half_plus_two")[1]

    assert found.signature_def.keys() == graph.signature_def.keys() - {"__saved_model_init_op"}
    for name, definition in found.signature_def.items():
        wanted = graph.signature_def[name]
        assert definition.method_name == wanted.method_name
        assert {a: info.name for a, info in definition.inputs.items()} == {
            a: info.name for a, info in wanted.inputs.items()
        }
        assert dict(definition.outputs) == dict(wanted.outputs)
    assert kserve["platform"] == "tensorflow"
    assert kserve["parameters"]["execution_provider"] == "tensorflow"
    assert Http(address).get("/v2/models/add")[1]["platform"] == "onnxruntime_onnx"


def test_metrics_name_tensorflow(address):
    """Metrics of a SavedModel have the device tensorflow."""
    with PredictClient(address) as client:
        client.predict("dense", QUESTIONS["dense"])
    page = Http(address).ask("GET", "/monitoring/prometheus/metrics")[2].decode()

    labels = [line for line in page.splitlines() if 'model_name="dense"' in line]
    assert any('device="tensorflow"' in line for line in labels)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.float32([[1, 1, -1]]), "assertion failed: [negative]"),
        (np.float32([[1, 1]]), "Matrix size-incompatible: In[0]: [1,2], In[1]: [3,2]"),
        (np.float32([1, 1, 1]), "In[0] ndims must be >= 2: 1"),
    ],
)
def test_refusals_of_the_graph_have_tensorflows_messages(address, inputs, message):
    """An input that the graph refuses is INVALID_ARGUMENT with TensorFlow's message."""
    with PredictClient(address) as client, pytest.raises(PredictError) as caught:
        client.predict("failing", {"x": inputs})

    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize("shape", [(), (3,), (4, 3), (4, 4, 3), (1, 2, 4, 4, 3)])
def test_a_rank_that_would_end_the_process_is_refused(address, expected, shape):
    """An input of another rank than the convolution's is refused, and the server goes on."""
    with PredictClient(address) as client:
        with pytest.raises(PredictError, match="expected") as caught:
            client.predict("convolution", {"x": np.ones(shape, np.float32)})
        answer = client.predict("convolution", QUESTIONS["convolution"])

    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert_same(answer, expected["convolution"])


def test_a_signature_of_unserved_types_is_left_out(address):
    """A signature with 8-bit floats is left out; the version's other signatures answer."""
    with PredictClient(address) as client:
        half = client.predict("element_types", {"x": np.float16([1, 2])})
        brain = client.predict("element_types", {"x": np.float32([1])}, signature_name="brain")
        with pytest.raises(PredictError, match="byte") as caught:
            client.predict("element_types", {"x": np.float32([1])}, signature_name="byte")

    assert half["y"].dtype == np.float16
    assert half["y"].tolist() == [2, 3]
    assert brain["y"].view(tf.bfloat16.as_numpy_dtype).tolist() == [1]
    assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION


def test_complex_numbers_are_for_predict_alone(address):
    """Complex numbers are answered by Predict; KServe says that it has no datatype for them."""
    with PredictClient(address) as client:
        answer = client.predict("complex_numbers", {"x": np.complex64([1, 2j])})
    status, told = Http(address).get("/v2/models/complex_numbers")

    assert answer["y"].tolist() == [1j, -2]
    assert (status, told["error"].split(";")[0]) == (
        501,
        "DT_COMPLEX64 has no datatype in this protocol",
    )


def test_rows_that_are_proved_independent_share_runs(address):
    """The proof of independent rows runs on TensorFlow, too: dependent rows run alone."""
    parameters = {
        name: Http(address).get(f"/v2/models/{name}")[1]["parameters"]
        for name in ("dense", "mixed_rows", "lookup")
    }

    assert parameters["dense"]["batched"] == "true"
    assert parameters["mixed_rows"]["batched"] == "false"
    assert "alone differ" in parameters["mixed_rows"]["row_independence"]
    assert parameters["lookup"]["batched"] == "false"


def test_forced_batching_takes_strings_together(saved_models, expected):
    """--force_batching puts strings of 24 callers into shared runs; each gets its own back."""

    async def ask(address):
        words = [f"word{number}".encode() for number in range(8 * CALLERS)]
        async with AsyncPredictClient(address) as client:
            answers = await asyncio.gather(
                *(client.predict("lookup", {"words": np.array([w], object)}) for w in words)
            )
        return words, answers

    with servers.in_this_process(saved_models, force_batching="lookup", instances=1) as address:
        words, answers = asyncio.run(ask(address))
        page = Http(address).ask("GET", "/monitoring/prometheus/metrics")[2].decode()

    assert [answer["upper"].tolist() for answer in answers] == [[word.upper()] for word in words]
    batches = re.search(r'processed_batch_size_count\{[^}]*"lookup"[^}]*\} (\d+)', page)
    assert int(batches.group(1)) < len(words)


def test_onnx_models_are_served_beside(address):
    """One server runs ONNX models and SavedModels."""
    with PredictClient(address) as client:
        answer = client.predict("add", {"a": np.array([1]), "b": np.array([2])})

    assert answer["sum"].tolist() == [3]
