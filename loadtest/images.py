"""The test images, and the Predict requests made of them before a run starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loadtest.config import UsageError
from serving.client import predict_request
from training.cifar10 import DATA_DIR_VARIABLE, DataError, Split, load_split, resolve_data_dir

INPUT_NAME = "images"


@dataclass(frozen=True, slots=True)
class Query:
    """One request, ready to be sent.

    Attributes:
        payload: A serialised PredictRequest, so that no time goes into making it during a run.
        image_ids: int64, shape (n,): which test images it holds, in order.
    """

    payload: bytes
    image_ids: npt.NDArray[np.int64]


def load_test_images(data_dir: Path | None) -> Split:
    """The labelled test images.

    Args:
        data_dir: CIFAR-10 in any form that training reads; None for $CIFAR10_DIR.

    Raises:
        UsageError: Neither is set, or the images cannot be read.
    """
    chosen = resolve_data_dir(data_dir)
    if chosen is None:
        # Training would download them with Keras, which a load generator has no business importing.
        msg = (
            f"no test images: neither --data-dir nor {DATA_DIR_VARIABLE} is set, expected a folder "
            "or archive of CIFAR-10, or a folder with test/<class>/ images"
        )
        raise UsageError(msg)
    try:
        return load_split(chosen, "test")
    except (DataError, OSError) as error:
        raise UsageError(str(error)) from error


def make_queries(
    split: Split, *, model: str, version: int | None, batch: int, seed: int
) -> list[Query]:
    """Serialise every test image into exactly one request.

    The images are shuffled, because a folder of images comes sorted by class and a run may send
    only the first few.

    Args:
        split: The test images.
        model: Model name.
        version: Version number; None for the latest.
        batch: Images a request; the last request holds what is left.
        seed: Decides the order.

    Returns:
        ceil(len(split) / batch) requests.
    """
    order = np.random.default_rng(seed).permutation(len(split)).astype(np.int64)
    queries = []
    for start in range(0, len(order), batch):
        image_ids = order[start : start + batch]
        request = predict_request(model, {INPUT_NAME: split.images[image_ids]}, version=version)
        queries.append(Query(payload=request.SerializeToString(), image_ids=image_ids))
    return queries


def data_section(split: Split, data_dir: Path | None) -> dict[str, object]:
    """Which images were sent, for the report.

    Only the last part of the path is kept: a report is passed on, the machine is not.
    """
    chosen = resolve_data_dir(data_dir)
    return {
        "images": len(split),
        "sha256": split.sha256(),
        "source": chosen.name if chosen is not None else None,
    }


def query_sizes(queries: Sequence[Query]) -> tuple[int, int]:
    """Smallest and largest request in bytes."""
    sizes = [len(query.payload) for query in queries]
    return min(sizes), max(sizes)
