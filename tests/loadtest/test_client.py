import numpy as np
import pytest

from loadtest.client import BAD_RESPONSE, PredictionClient
from loadtest.images import Query, make_queries
from serving.client import predict_request
from serving.protos.tensorflow_serving_pb2 import PredictRequest
from training.cifar10 import Split


@pytest.fixture
def predict(image_target):
    """Sends a query to the server of the known models."""
    client = PredictionClient(image_target, timeout_seconds=30)
    yield client.send
    client.close()


@pytest.fixture
def predict_elsewhere(target):
    """Sends a query to the server of models that are no image classifiers."""
    client = PredictionClient(target, timeout_seconds=30)
    yield client.send
    client.close()


def test_queries_hold_every_image_once_with_its_number(split):
    """24 images in batches of 7 are 7, 7, 7 and 3; each payload holds the images it names."""
    queries = make_queries(split, model="cat", version=3, batch=7, seed=1)

    requests = [PredictRequest.FromString(query.payload) for query in queries]
    assert [len(query.image_ids) for query in queries] == [7, 7, 7, 3]
    assert sorted(np.concatenate([query.image_ids for query in queries])) == list(range(24))
    assert [request.inputs["images"].tensor_content for request in requests] == [
        split.images[query.image_ids].tobytes() for query in queries
    ]
    assert {request.model_spec.version.value for request in requests} == {3}


def test_the_seed_decides_the_order(split):
    """The same seed gives the same requests, another seed others, and neither is sorted."""
    orders = [
        [
            int(query.image_ids[0])
            for query in make_queries(split, model="cat", version=None, batch=1, seed=seed)
        ]
        for seed in (0, 0, 1)
    ]

    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != sorted(orders[0])


def test_an_answer_carries_classes_version_and_time(predict, split):
    """`echo` answers the number drawn into each image, so nothing is mixed up on the way."""
    query = make_queries(split, model="echo", version=None, batch=24, seed=0)[0]

    outcome = predict(query)

    assert outcome.error is None
    assert outcome.classes.tolist() == split.images[query.image_ids, 0, 0, 0].tolist()
    assert outcome.version == 1
    assert outcome.latency_ns > 0


def test_a_refusal_is_an_outcome_with_the_servers_words(predict, split):
    """An unknown model is NOT_FOUND and the message names it."""
    query = make_queries(split, model="nobody", version=None, batch=1, seed=0)[0]

    outcome = predict(query)

    assert (outcome.error, outcome.classes) == ("NOT_FOUND", None)
    assert "nobody" in outcome.message


def test_an_answer_without_classes_cannot_be_scored(predict_elsewhere):
    """A model that is no classifier is answered OK by the server and still is a failure here."""
    request = predict_request("identity", {"x": np.ones((2, 3), np.float32)})
    query = Query(payload=request.SerializeToString(), image_ids=np.arange(2))

    outcome = predict_elsewhere(query)

    assert outcome.error == BAD_RESPONSE
    assert outcome.message == 'outputs y received, expected int64 "classes" of shape (2,)'


def test_an_answer_with_another_number_of_rows_cannot_be_scored(predict, split):
    """Three answers to what should be two images are a failure, not three scores."""
    images = Split(images=split.images[:3], labels=split.labels[:3])
    sent = make_queries(images, model="cat", version=None, batch=3, seed=0)[0]

    outcome = predict(Query(payload=sent.payload, image_ids=np.arange(2)))

    assert outcome.error == BAD_RESPONSE
    assert outcome.message == (
        'output "classes" is int64 of shape (3,), expected int64 of shape (2,)'
    )
