"""Runs a SavedModel's serving graph in a TensorFlow session. Used by the server and by `export`.

Only the graph and its variables are restored, not the saved Python objects, so models of TensorFlow
1 and of any Keras version load. The session does not check shapes: the operators that read a fed
array may refuse it.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.util import deprecation

# Limit of the cached callables: each one is for other tensors, or for another time limit.
_MOST_CALLS = 64


class SavedModelSession:
    """A loaded graph that can be run from any thread.

    Attributes:
        session: `tf.compat.v1.Session`, with the graph in `session.graph`.
        meta_graph: The loaded MetaGraphDef.
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
            folder: Folder that holds saved_model.pb or saved_model.pbtxt.
            tags: All tags of the graph to load.
            config: ConfigProto with threads and devices; None: TensorFlow's defaults.

        Raises:
            Exception: TensorFlow's errors, which have no common base class.
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
            feeds: Arrays by tensor name; strings have dtype object.
            limit_ms: Time limit in milliseconds, which TensorFlow checks between two operators; 0:
                no limit. Each distinct limit needs its own callable.

        Returns:
            One array per output, in the order of `output_tensors`; strings have dtype object and
            elements of type `bytes`.

        Raises:
            tf.errors.OpError: an operator refuses the arrays, or a tensor does not exist.
            TypeError, ValueError: TensorFlow cannot convert an array.
        """
        call = self._call(tuple(feeds), tuple(output_tensors), limit_ms)
        # TensorFlow returns a scalar string as `bytes`.
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
            # Session.run and make_callable compare the fed shapes with those of the placeholders;
            # TensorFlow Serving does not.
            options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
            options.run_options.timeout_in_ms = limit_ms
            with self._lock:
                call = self.session._make_callable_from_options(options)  # noqa: SLF001  see above
                while len(self._calls) >= _MOST_CALLS:
                    del self._calls[next(iter(self._calls))]
                self._calls[key] = call
        return call
