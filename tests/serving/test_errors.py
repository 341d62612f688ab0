import pickle
from concurrent.futures import ProcessPoolExecutor

import grpc
import pytest

from serving import errors
from serving.client import PredictError
from serving.errors import RateLimited, ServingError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ServingError)
]


def instance(kind: type) -> ServingError:
    if issubclass(kind, RateLimited):
        return kind("a message", retry_after_seconds=2.5)
    return kind("a message")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_of_the_server_can_be_pickled(kind):
    """Every error comes back from a pickle with its class, code, message and headers."""
    error = instance(kind)
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here

    assert type(back) is kind
    assert (back.code, back.message, back.headers) == (error.code, error.message, error.headers)


def refuse() -> None:
    raise PredictError(grpc.StatusCode.NOT_FOUND, "no such model")


@pytest.mark.timeout(60)
def test_a_process_pool_gets_the_clients_error():
    """A PredictError of a process in a pool reaches the caller; it does not stop the pool."""
    with ProcessPoolExecutor(1) as pool, pytest.raises(PredictError) as caught:
        pool.submit(refuse).result(30)

    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert caught.value.message == "no such model"
    assert str(caught.value) == "NOT_FOUND: no such model"
