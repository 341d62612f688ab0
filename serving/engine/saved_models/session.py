"""A SavedModel's serving graph in a session of TensorFlow, which the server and the export share.

The graph and its variables are restored, and none of the Python objects that were saved, so models
of TensorFlow 1 and of any Keras load. The session checks no shape: what is fed goes to the
operators behind it, and those refuse it or not.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.util import deprecation

# Prepared calls that are kept: each has other tensors, or another time limit.
_MOST_CALLS = 64


class SavedModelSession:
    """A graph that is ready to run from any thread.

    Attributes:
        session: `tf.compat.v1.Session`, with the graph in `session.graph`.
        meta_graph: MetaGraphDef as it was loaded.
    """

    session: Any
    meta_graph: Any

    def __init__(
        self,
        folder: Path,
        tags: Sequence[str] = ("serve",),
        config: Any = None,  # noqa: ANN401  ConfigProto, of an untyped module
    ) -> None:
        """Load the graph, restore its variables and run its initialization.

        Args:
            folder: Holds saved_model.pb or saved_model.pbtxt.
            tags: All tags of the graph to load.
            config: ConfigProto with its threads and devices; None for TensorFlow's own choice.

        Raises:
            Exception: what TensorFlow's parts raise has no common base.
        """
        self.session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            with deprecation.silence():
                self.meta_graph = tf.compat.v1.saved_model.load(
                    self.session, list(tags), str(folder)
                )
        except BaseException:
            self.session.close()
            raise
        self._calls: dict[tuple[object, ...], Any] = {}
        self._lock = threading.Lock()

    def run(
        self, output_tensors: Sequence[str], feeds: Mapping[str, np.ndarray], *, limit_ms: int = 0
    ) -> list[np.ndarray]:
        """Compute output tensors.

        Args:
            output_tensors: Names of tensors of the graph.
            feeds: Arrays by tensor name; strings as objects.
            limit_ms: Time limit, which TensorFlow keeps between two operators (milliseconds);
                0: none. Each other limit takes a prepared call of its own.

        Returns:
            One array an output, in the order asked for; strings as objects, each `bytes`.

        Raises:
            tf.errors.OpError: an operator refuses the arrays, or there is no such tensor.
            TypeError, ValueError: an array is of a kind that TensorFlow does not have.
        """
        call = self._call(tuple(feeds), tuple(output_tensors), limit_ms)
        # A string without a dimension comes as bytes.
        return [
            np.asarray(answer, object if isinstance(answer, bytes) else None)
            for answer in call(*feeds.values())
        ]

    def close(self) -> None:
        """Free the graph and its variables."""
        self._calls.clear()
        self.session.close()

    def _call(self, feeds: tuple[str, ...], fetches: tuple[str, ...], limit_ms: int) -> Any:  # noqa: ANN401  a function of TensorFlow's
        key = (feeds, fetches, limit_ms)
        call = self._calls.get(key)
        if call is None:
            # Session.run and make_callable compare shapes with the placeholder's, which
            # TensorFlow Serving does not.
            options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
            options.run_options.timeout_in_ms = limit_ms
            with self._lock:
                call = self.session._make_callable_from_options(options)  # noqa: SLF001  see above
                while len(self._calls) >= _MOST_CALLS:
                    del self._calls[next(iter(self._calls))]
                self._calls[key] = call
        return call
