"""Validation with averaged weights, without copies between device and host."""

import keras


class SwapAverages(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Puts the averages of the weights into the model during each validation.

    Keras' SwapEMAWeights does the same, but copies all weights to the host and back.
    """

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Exchange weights and averages."""
        self._swap()

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002  Keras' signature
        """Exchange them again."""
        self._swap()

    def _swap(self) -> None:
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # that of loss scaling
        # Keras has no public name for the averages.
        averages = optimizer._model_variables_moving_average  # noqa: SLF001
        for weight, average in zip(self.model.trainable_variables, averages, strict=True):
            held = weight.value
            weight.assign(average.value)
            average.assign(held)
