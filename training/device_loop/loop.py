"""Training of a Keras model epoch by epoch on a device, with the callbacks of `model.fit`."""

import logging
import time
from collections.abc import Callable, Iterator

import jax
import keras
import numpy as np

from training.batches.draws import order
from training.data.data_set import ImageRows
from training.device_loop import programs
from training.device_loop.programs import Program, State, Steps
from training.settings.recipes import TrainConfig

# Callbacks are called this often, and Ctrl+C waits this long. Shorter epochs are one call.
_SECONDS_OF_A_CALL = 2.0
_log = logging.getLogger(__name__)

Variables = tuple[list[keras.Variable], ...]


class DeviceLoop:
    """Takes the place of `model.fit` with JAX on one device.

    Training and validation images lie on the device. An epoch is one call of a compiled program,
    or several if it takes longer than 2 s; between two steps of a call nothing is copied or waited
    for.

    Callbacks are called as by `model.fit`, except that `on_train_batch_begin`, `on_train_batch_end`
    and their counterparts for validation are called once for each call of the program, with the
    numbers of its first and last step. If the loss is no longer finite, `on_train_batch_end` gets
    the number of the step in which that happened. The variables of the model are up to date
    whenever a callback is called.
    """

    def __init__(
        self,
        model: keras.Model,
        training: ImageRows,
        validation: ImageRows,
        config: TrainConfig,
        *,
        validation_batch: int,
    ) -> None:
        """Copy the images to the device.

        Args:
            model: A compiled model.
            training: The training images.
            validation: The validation images.
            config: Seed, batch size and augmentation.
            validation_batch: Images of a step of validation.
        """
        programs.build_metrics(model)
        self._model, self._config = model, config
        self._images = programs.put(training)
        held_out, places = programs.put(validation), np.arange(len(validation))
        self._validation_parts = [
            Steps(held_out, None, jax.device_put(indices))
            for indices in programs.step_indices(places, validation_batch)
        ]
        self._train_programs: list[Program] = []
        self._validation_programs: list[Program] = []
        self._train_pace, self._validation_pace = _Pace(), _Pace()

    def fit(
        self, *, epochs: int, initial_epoch: int, callbacks: list[keras.callbacks.Callback]
    ) -> None:
        """Train the epochs from `initial_epoch`, counted from 0, to before `epochs`."""
        model = self._model
        steps = -(-len(self._images.labels) // self._config.batch_size)
        callback = keras.callbacks.CallbackList(callbacks, model=model, epochs=epochs, steps=steps)
        model.stop_training = False
        logs: dict[str, float] = {}
        callback.on_train_begin()
        for epoch in range(initial_epoch, epochs):
            callback.on_epoch_begin(epoch)
            logs = self._train_epoch(epoch, callback) | self._validate_epoch(callback)
            callback.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        callback.on_train_end(logs)

    def _train_epoch(self, epoch: int, callback: keras.callbacks.CallbackList) -> dict[str, float]:
        parts = self._training_parts(epoch)
        if not self._train_programs:
            self._compile(parts)
        self._model.reset_metrics()
        return self._run(
            zip(self._train_programs, parts, strict=True),
            self._training_variables(),
            self._train_pace,
            (callback.on_train_batch_begin, callback.on_train_batch_end),
        )

    def _validate_epoch(self, callback: keras.callbacks.CallbackList) -> dict[str, float]:
        callback.on_test_begin()
        self._model.reset_metrics()
        logs = self._run(
            zip(self._validation_programs, self._validation_parts, strict=True),
            self._validation_variables(),
            self._validation_pace,
            (callback.on_test_batch_begin, callback.on_test_batch_end),
        )
        callback.on_test_end(logs)
        return {f"val_{name}": value for name, value in logs.items()}

    def _training_parts(self, epoch: int) -> list[Steps]:
        count, config = len(self._images.labels), self._config
        draws = programs.put_draws(count, config, epoch)
        indices = programs.step_indices(order(count, config.seed, epoch), config.batch_size)
        return [Steps(self._images, draws, jax.device_put(part)) for part in indices]

    def _compile(self, training_parts: list[Steps]) -> None:
        began = time.perf_counter()
        train = programs.training_program(self._model, self._config)
        validate = programs.validation_program(self._model)
        compiled = programs.compile_all(
            [(train, _values(self._training_variables()), part) for part in training_parts]
            + [
                (validate, _values(self._validation_variables()), part)
                for part in self._validation_parts
            ]
        )
        self._train_programs = compiled[: len(training_parts)]
        self._validation_programs = compiled[len(training_parts) :]
        _log.info("compiled %d programs in %.1f s", len(compiled), time.perf_counter() - began)

    def _run(
        self,
        parts: Iterator[tuple[Program, Steps]],
        variables: Variables,
        pace: "_Pace",
        callbacks: tuple[Callable[..., None], Callable[..., None]],
    ) -> dict[str, float]:
        """Run the steps of all parts; return the metrics of all of them together."""
        begin, end = callbacks
        done, logs = 0, {}
        for program, steps in parts:
            for first, last in pace.calls(len(steps.indices)):
                begin(done + first)
                state, losses = program(_values(variables), steps, np.int32(first), np.int32(last))
                _assign(variables, state)
                wrong = np.flatnonzero(~np.isfinite(np.asarray(losses)[first:last]))
                logs = {
                    name: float(value) for name, value in self._model.get_metrics_result().items()
                }
                end(done + (first + int(wrong[0]) if wrong.size else last - 1), logs)
            done += len(steps.indices)
        return logs

    def _training_variables(self) -> Variables:
        model = self._model
        return (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )

    def _validation_variables(self) -> Variables:
        model = self._model
        return model.trainable_variables, model.non_trainable_variables, model.metrics_variables


class _Pace:
    """Chooses how many steps a call of a program runs, by the speed of the call before."""

    def __init__(self) -> None:
        self._steps = 1  # the first call measures the speed

    def calls(self, steps: int) -> Iterator[tuple[int, int]]:
        """Yield the first step of each call and the one after its last, until all steps are done.

        The caller runs the steps before it asks for the next call.
        """
        first = 0
        while first < steps:
            last = min(first + self._steps, steps)
            began = time.perf_counter()
            yield first, last
            seconds = max(time.perf_counter() - began, 1e-6)
            self._steps = max(1, int((last - first) * _SECONDS_OF_A_CALL / seconds))
            first = last


def _values(variables: Variables) -> State:
    return tuple([variable.value for variable in group] for group in variables)


def _assign(variables: Variables, state: State) -> None:
    for group, values in zip(variables, state, strict=True):
        for variable, value in zip(group, values, strict=True):
            variable.assign(value)
