"""Early stopping: which epoch is the best, and when no better one has come for long enough.

Both depend only on the history, which checkpoints carry, so that a resumed run decides like an
uninterrupted one.
"""

import keras

from training.run.checkpoint import History


def best_epoch(history: History) -> int:
    """Return the first epoch, from 1, with the highest validation accuracy; 0 without epochs."""
    epochs = range(1, len(history) + 1)
    return max(epochs, key=lambda epoch: rank(history[:epoch]), default=0)


def rank(history: History) -> tuple[float, int]:
    """Return a sort key that is highest for the history that ends with the best epoch.

    It compares the last epoch's validation accuracy; if equal, the shorter history is higher.
    """
    return history[-1]["val_accuracy"], -len(history)


def is_over(history: History, patience: int) -> bool:
    """Return whether the last `patience` epochs were not better; False for a patience of 0."""
    return 0 < patience <= len(history) - best_epoch(history)


class EarlyStop(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Ends the training after an epoch if `is_over` returns True.

    Keras' EarlyStopping keeps its count of epochs and the best weights in memory: a kill loses
    both.
    """

    def __init__(self, history: History, patience: int) -> None:
        super().__init__()
        self._history = history
        self._patience = patience

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Check the history, to which EpochRecorder has added this epoch."""
        if is_over(self._history, self._patience):
            self.model.stop_training = True
