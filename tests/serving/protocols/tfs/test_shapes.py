"""Tests of which shapes are answered: the graph's declared shapes, whatever the signature says."""

import asyncio

import numpy as np
import pytest
from calling import every_protocol
from calling.rest_client import Http
from sample_models import arithmetic_models, odd_models, tiny_models

from serving.client import AsyncPredictClient, PredictClient, PredictError

SHAPES = [(), (3,), (2, 2), (0, 1), (0,), (1, 1, 1), (5, 1)]
CALLERS = 48


@pytest.fixture(scope="module")
def target(tmp_path_factory, running_server):
    """A server of half-plus-two models with an undeclared rank and with (batch, 1), and others."""
    models_dir = tmp_path_factory.mktemp("models")
    arithmetic_models.half_plus_two(models_dir)
    arithmetic_models.half_plus_two(models_dir, "declared", declared=["batch", 1])
    arithmetic_models.weighted(models_dir)
    arithmetic_models.shares(models_dir)
    tiny_models.add(models_dir)
    tiny_models.identity(models_dir)
    odd_models.recurrent(models_dir)
    with running_server(models_dir, max_rows_per_request=8, max_batch_size=4) as address:
        yield address


def numbers(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def half_plus_two(array: np.ndarray) -> np.ndarray:
    return array / 2 + 2


def refusal(client: PredictClient, model: str, **inputs: np.ndarray) -> tuple[str, str]:
    with pytest.raises(PredictError) as caught:
        client.predict(model, inputs)
    return caught.value.code.name, caught.value.message


def test_tensorflow_servings_first_example_is_answered(target):
    """The request in TensorFlow Serving's README is answered: a flat list to an input (-1, 1)."""
    answer = Http(target).post("/v1/models/half_plus_two:predict", {"instances": [1.0, 2.0, 5.0]})

    assert answer == (200, {"predictions": [2.5, 3.0, 4.5]})


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_graph_of_any_rank_answers_every_shape(client, shape):
    """Tensors of any shape are answered in their shape; the signature says (-1, 1).

    Each request is sent three times, because a template reads the third one.
    """
    array = numbers(shape)

    answers = [client.predict("half_plus_two", {"x": array})["y"] for _ in range(3)]

    for answer in answers:
        assert answer.shape == shape
        np.testing.assert_array_equal(answer, half_plus_two(array))


@pytest.mark.parametrize("protocol", every_protocol.PROTOCOLS)
def test_every_protocol_answers_what_the_graph_takes(target, protocol):
    """Every protocol accepts the shapes that the graph accepts."""
    with every_protocol.PROTOCOLS[protocol](target) as ask:
        for shape in ((), (3,), (2, 2), (2, 1)):
            array = numbers(shape)

            answer = ask("half_plus_two", {"x": array}, {"y": np.zeros(0, np.float32)})["y"]

            assert answer.shape == shape
            np.testing.assert_array_equal(answer, half_plus_two(array))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((), 'input "x" of declared/1 has shape (), expected (-1, 1)'),
        (
            (1,),
            (
                'input "x" of declared/1 has shape (1,), expected (-1, 1); add the batch '
                "dimension, for example with array[None]"
            ),
        ),
        ((3,), 'input "x" of declared/1 has shape (3,), expected (-1, 1)'),
        ((2, 2), 'input "x" of declared/1 has shape (2, 2), expected (-1, 1)'),
        ((1, 1, 1), 'input "x" of declared/1 has shape (1, 1, 1), expected (-1, 1)'),
    ],
)
def test_shapes_that_the_graph_does_not_declare_are_refused(client, shape, message):
    """A shape that the graph does not declare is refused before the run.

    The message has both shapes. ONNX Runtime would refuse the shape, too, but later.
    """
    assert refusal(client, "declared", x=numbers(shape)) == ("INVALID_ARGUMENT", message)


def test_an_empty_batch_is_run_by_the_graph(client):
    """An empty batch is run and answered, also on a signature that batches."""
    assert client.predict("declared", {"x": numbers((0, 1))})["y"].shape == (0, 1)
    assert client.predict("identity", {"x": numbers((0, 3))})["y"].shape == (0, 3)


@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3), (0, 0, 3)], ids=str)
def test_empty_inputs_of_a_recurrent_network_are_refused(client, shape):
    """An empty input of a GRU is INVALID_ARGUMENT: ONNX Runtime would end the process on it."""
    code, message = refusal(client, "recurrent", x=numbers(shape))

    assert code == "INVALID_ARGUMENT"
    assert message.startswith(
        f"the model cannot take this input: tensor x has shape {shape}, expected at least one "
        "element, because the graph has GRU"
    )
    assert client.predict("recurrent", {"x": numbers((2, 2, 3))})["y"].shape == (2, 4)


def test_inputs_of_other_sizes_run_alone(client):
    """Inputs with different numbers of rows run alone; the graph broadcasts or refuses them.

    One row beside three is broadcast, two rows beside three are refused.
    """
    answer = client.predict("add", {"a": np.array([5]), "b": np.array([1, 2, 3])})
    long = client.predict("add", {"a": np.arange(6), "b": np.array([1])})  # over max_batch_size
    code, message = refusal(client, "add", a=np.array([5, 6]), b=np.array([1, 2, 3]))

    assert answer["sum"].tolist() == [6, 7, 8]
    assert long["sum"].tolist() == [1, 2, 3, 4, 5, 6]
    assert code == "INVALID_ARGUMENT"
    assert message.startswith("the model cannot take this input: ")
    assert "broadcast" in message


def test_a_refusal_of_the_graph_names_the_odd_shape(client):
    """If the graph refuses a shape unlike the signature's, the message has both shapes."""
    code, message = refusal(client, "weighted", x=numbers((2, 3)))

    assert code == "INVALID_ARGUMENT"
    assert message.startswith("the model cannot take this input: ")
    assert message.endswith('; input "x" has shape (2, 3), the signature says (-1, 2)')


def test_rows_are_counted_and_large_requests_split(client):
    """Eight rows run in batches of four, nine rows are refused, and a scalar has no rows."""
    eight, nine = numbers((8, 1)), numbers((9, 1))

    answer = client.predict("half_plus_two", {"x": eight})["y"]
    code, message = refusal(client, "half_plus_two", x=nine)

    np.testing.assert_array_equal(answer, half_plus_two(eight))
    assert code == "INVALID_ARGUMENT"
    assert "has 9 rows, expected at most 8 per request" in message
    assert client.predict("half_plus_two", {"x": numbers(())})["y"].shape == ()


def test_a_flat_list_is_not_split_into_batches(client):
    """A flat list longer than max_batch_size runs whole: each element depends on all of them."""
    for _ in range(3):
        answer = client.predict("shares", {"x": np.ones(7, np.float32)})["y"]

        np.testing.assert_allclose(answer, np.full(7, 1 / 7))
    rows = client.predict("shares", {"x": np.ones((7, 3), np.float32)})["y"]
    np.testing.assert_allclose(rows, np.full((7, 3), 1 / 3))


def test_flat_lists_do_not_share_a_batch(target):
    """Concurrent requests of flat lists to a model that batches rows each get their own answer."""

    async def call_all() -> list[np.ndarray]:
        async with AsyncPredictClient(target) as caller:
            calls = (
                caller.predict("shares", {"x": np.ones((1, 3) if size == 2 else size, np.float32)})
                for size in sizes
            )
            return [answer["y"] for answer in await asyncio.gather(*calls)]

    sizes = [1, 2, 3] * CALLERS
    for size, shares in zip(sizes, asyncio.run(call_all()), strict=True):
        expected = np.full((1, 3), 1 / 3) if size == 2 else np.full(size, 1 / size)
        np.testing.assert_allclose(shares, expected)


def test_odd_shapes_beside_rows_get_their_own_answers(target):
    """Of concurrent requests with different shapes, each gets its own answer in its own shape."""

    async def call(number: int) -> tuple[np.ndarray, np.ndarray]:
        shape = [*SHAPES, (3, 1), (1, 1)][number % 9]
        array = np.asarray(numbers(shape) + np.float32(100 * number))
        return array, (await caller.predict("half_plus_two", {"x": array}))["y"]

    async def call_all() -> list[tuple[np.ndarray, np.ndarray]]:
        nonlocal caller
        async with AsyncPredictClient(target) as caller:
            return [
                pair
                for _ in range(4)
                for pair in await asyncio.gather(*(call(number) for number in range(CALLERS)))
            ]

    caller: AsyncPredictClient
    for sent, received in asyncio.run(call_all()):
        assert received.shape == sent.shape
        np.testing.assert_array_equal(received, half_plus_two(sent))


def test_metadata_shows_the_signatures_shape(client):
    """Metadata has the signature's shape, which tells clients what to send."""
    x = client.signatures("half_plus_two").signature_def["serving_default"].inputs["x"]

    assert [dim.size for dim in x.tensor_shape.dim] == [-1, 1]
