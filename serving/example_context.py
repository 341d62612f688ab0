"""The features that all tf.Examples of a request share."""

from collections.abc import Sequence

from serving.errors import InvalidInput
from serving.protocols.tfs.tensor_proto import MAX_TENSOR_BYTES


def with_context(examples: Sequence[bytes], context: bytes) -> list[bytes]:
    """Give every example the features of a context, unless it has its own of that name.

    Args:
        examples: Serialized tf.Examples.
        context: A serialized tf.Example. Put before another one, it is merged with it: protocol
            buffers are made so.

    Raises:
        InvalidInput: the context of all examples together is larger than `MAX_TENSOR_BYTES`.
    """
    size = len(context) * len(examples)
    if size > MAX_TENSOR_BYTES:
        msg = (
            f"a context of {len(context)} bytes for {len(examples)} examples takes {size} bytes, "
            f"expected at most {MAX_TENSOR_BYTES}; send smaller batches"
        )
        raise InvalidInput(msg)
    return [context + example for example in examples]
