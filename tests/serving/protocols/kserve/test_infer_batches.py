"""Tests that raw answers to requests of one batch are cut out of it as if each were encoded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.engine.batching.request_rows import RequestRows
from serving.errors import Unsupported
from serving.protocols.kserve import tensor_bytes
from serving.protocols.kserve.infer_messages import encode_raw_response
from serving.protos.kserve_pb2 import ModelInferResponse

DTYPES = [np.float32, np.float64, np.float16, np.uint8, np.int8, np.int64, np.bool_, ">i4"]
batches = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        dtype, st.tuples(st.just(5)) | st.tuples(st.just(5), st.integers(0, 3))
    )
)


@given(
    batch=st.dictionaries(st.text(max_size=8), batches, min_size=1, max_size=3),
    identity=st.text(max_size=3),
)
@settings(deadline=None)
def test_answers_cut_out_of_a_batch_are_those_of_their_rows(batch, identity):
    """The answers to the requests of one batch equal those to their rows, byte by byte."""
    made = {}
    for start, end in ((0, 1), (1, 3), (3, 3), (3, 4)):  # one request is empty, one row padding
        rows = RequestRows(batch, made, start, end)

        encoded = encode_raw_response("m", 1, identity, rows)

        assert encoded == encode_raw_response("m", 1, identity, dict(rows))


def test_a_batch_with_text_is_cut_by_rows():
    """Outputs of text, whose elements take several numbers of bytes, are encoded by request."""
    batch = {"scores": np.eye(3, dtype=np.float32), "label": np.array([b"a", b"bc", b""], object)}
    made = {}
    for row in range(3):
        rows = RequestRows(batch, made, row, row + 1)

        encoded = encode_raw_response("m", 1, "", rows)

        answer = ModelInferResponse.FromString(encoded.payload)
        contents = [tensor_bytes.encode_raw(array[row : row + 1]) for array in batch.values()]
        assert list(answer.raw_output_contents) == contents


def test_an_output_without_a_datatype_is_refused():
    """A batch with complex numbers, which the protocol lacks, is refused like a single request."""
    rows = RequestRows({"y": np.ones(2, np.complex64)}, {}, 0, 1)

    with pytest.raises(Unsupported, match="DT_COMPLEX64 has no datatype in this protocol"):
        encode_raw_response("m", 1, "", rows)
