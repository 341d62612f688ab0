"""Tests that the responses to requests of one batch are cut out of it as if each were encoded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.engine.batching.request_rows import RequestRows
from serving.protocols.tfs import tensor_proto
from serving.protocols.tfs.predict_messages import encode_response
from serving.protos.tensorflow_serving_pb2 import PredictResponse

DTYPES = [np.float32, np.float64, np.float16, np.uint8, np.int8, np.int64, np.bool_, np.complex64]
aliases = st.text(max_size=8)
batches = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        dtype, st.tuples(st.just(5)) | st.tuples(st.just(5), st.integers(0, 3))
    )
)


@given(batch=st.dictionaries(aliases, batches, min_size=1, max_size=3), as_content=st.booleans())
@settings(deadline=None)
def test_responses_cut_out_of_a_batch_are_those_of_their_rows(batch, as_content):
    """The responses to the requests of one batch equal those to their rows, byte by byte."""
    made = {}
    for start, end in ((0, 1), (1, 3), (3, 3), (3, 4)):  # one request is empty, one row padding
        rows = RequestRows(batch, made, start, end)

        encoded = encode_response("m", 1, "s", rows, as_content=as_content)

        assert encoded == encode_response("m", 1, "s", dict(rows), as_content=as_content)


@pytest.mark.parametrize("labels", [np.array([1, 2, 300]), np.array([b"a", b"bc", b""], object)])
def test_a_batch_with_elements_of_several_lengths_is_cut_by_rows(labels):
    """Outputs whose elements take several numbers of bytes are encoded for each request."""
    batch = {"scores": np.eye(3, dtype=np.float32), "labels": labels}
    made = {}
    for row in range(3):
        rows = RequestRows(batch, made, row, row + 1)

        received = PredictResponse.FromString(encode_response("m", 1, "s", rows).payload)

        for alias, array in batch.items():
            decoded = tensor_proto.decode(received.outputs[alias])
            assert decoded.tolist() == array[row : row + 1].tolist()


def test_responses_cut_out_of_a_large_batch():
    """The elements of a large batch, which are not copied, are cut at the right places."""
    batch = {"y": np.random.default_rng(0).standard_normal((4, 3000)).astype(np.float32)}
    rows = RequestRows(batch, {}, 1, 3)

    received = PredictResponse.FromString(encode_response("m", 1, "s", rows).payload)

    assert np.array_equal(tensor_proto.decode(received.outputs["y"]), batch["y"][1:3])
