"""When a training has stopped getting better, and which epoch was the best.

Both are functions of the history alone, which checkpoints carry: a resumed run decides as an
undisturbed one would.
"""

import keras

from training.run.checkpoint import History


def best_epoch(history: History) -> int:
    """The first epoch, from 1, with the highest validation accuracy; 0 without any."""
    epochs = range(1, len(history) + 1)
    return max(epochs, key=lambda epoch: rank(history[:epoch]), default=0)


def rank(history: History) -> tuple[float, int]:
    """Sorts histories by the validation accuracy at their ends; of equals the shorter is higher."""
    return history[-1]["val_accuracy"], -len(history)


def is_over(history: History, patience: int) -> bool:
    """Whether the last `patience` epochs brought nothing better; never with a patience of 0."""
    return 0 < patience <= len(history) - best_epoch(history)


class EarlyStop(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Ends the training after an epoch that made `is_over` true.

    Keras' EarlyStopping counts epochs, and keeps the best weights, in memory: a kill loses both.
    """

    def __init__(self, history: History, patience: int) -> None:
        super().__init__()
        self._history = history
        self._patience = patience

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Look at the history, which has this epoch by now."""
        if is_over(self._history, self._patience):
            self.model.stop_training = True
