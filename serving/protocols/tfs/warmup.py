"""Warm-up: recorded requests that a version answers before the first real one.

The requests are in TensorFlow Serving's `assets.extra/tf_serving_warmup_requests`, a TFRecord file
of PredictionLog messages.
"""

import logging
import time
from pathlib import Path

from google.protobuf.message import DecodeError

from serving.engine.servable import Servable
from serving.errors import DataLoss, InvalidInput, ServingError
from serving.inference.request import check_request
from serving.protocols.tfs import tensor_proto, tfrecord
from serving.protos.prediction_log_pb2 import PredictionLog
from serving.protos.tensorflow_serving_pb2 import PredictRequest
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME

logger = logging.getLogger(__name__)

FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000


def replay(servable: Servable, folder: Path, *, iterations: int = 1) -> int:
    """Answer the recorded Predict requests one by one. Blocks until all of them are answered.

    The model name and version in a recorded request are ignored: `servable` answers all of them.
    Records of other kinds than Predict are skipped, and a warning gives their number.

    Args:
        servable: The loaded version.
        folder: The version's folder.
        iterations: How many times each request is answered.

    Returns:
        The number of different requests answered; 0 if the folder has no warm-up file.

    Raises:
        DataLoss: the file cannot be read or is damaged.
        InvalidInput: the file has more than 1000 records.
        ServingError: the servable refused a request or failed to run it; the error has the code of
            that failure, and the message adds the number of the record.
    """
    path = folder / FILE
    if not path.exists():
        return 0
    started = time.perf_counter()
    replayed = skipped = 0
    for number, record in enumerate(tfrecord.read(path), start=1):
        if number > MAX_RECORDS:
            msg = f"{path} has over {MAX_RECORDS} records, expected at most that; keep the first"
            raise InvalidInput(msg)
        try:
            log = PredictionLog.FromString(record)
        except DecodeError as error:
            msg = (
                f"record {number} of {path} is not a PredictionLog message; record the requests "
                "again"
            )
            raise DataLoss(msg) from error
        if not log.HasField("predict_log"):
            skipped += 1
            continue
        try:
            for _ in range(iterations):
                _answer(servable, log.predict_log.request)
        except ServingError as error:
            msg = f"warm-up request {number} of {path}: {error.message}"
            raise type(error)(msg) from error
        replayed += 1
    seconds = time.perf_counter() - started
    logger.info("%s: answered %d warm-up requests in %.3f s", servable, replayed, seconds)
    if skipped:
        logger.warning("%s: skipped %d records that are not Predict requests", path, skipped)
    return replayed


def _answer(servable: Servable, request: PredictRequest) -> None:
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE_NAME
    checked = check_request(
        servable, name, request.inputs, tensor_proto.decode, request.output_filter
    )
    arrays = checked.arrays
    signature = servable.signatures[name]
    if signature.feature_spec:
        serialized = arrays.pop(signature.example_input).tolist()
        arrays |= servable.parsers[name].parse(serialized)
    servable.run(name, arrays, checked.outputs)
