"""Warm-up: first runs on made-up inputs, which allocate memory and select kernels."""

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from serving.engine import made_up_inputs
from serving.engine.runtime import SessionControl
from serving.errors import ServingError
from serving.tensors.signature import Signature
from serving.tensors.tensor_spec import TensorSpec

logger = logging.getLogger(__name__)

# Time limit of a run: a graph that loops for ever must not block the loading of others.
_SECONDS = 60.0


class Warmed(Protocol):
    """What is warmed up: the interface of `Servable`."""

    @property
    def signatures(self) -> Mapping[str, Signature]: ...  # noqa: D102 - see `Servable`, like below
    @property
    def batched(self) -> Mapping[str, bool]: ...  # noqa: D102
    def may_end_the_process(self, name: str) -> bool: ...  # noqa: D102
    def run(  # noqa: D102
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        control: SessionControl | None = None,
    ) -> dict[str, np.ndarray]: ...


def run_on_zeros(
    warmed: Warmed,
    specs: Mapping[str, Mapping[str, TensorSpec]],
    batch_sizes: Sequence[int],
    told: set[str],
) -> frozenset[str]:
    """Run signatures on zeros in the calling thread.

    A graph may refuse zeros, or the sizes chosen for its free dimensions, and still answer real
    requests. A refusal is therefore logged and not raised.

    Args:
        warmed: See `Warmed`.
        specs: The specs of the inputs by alias, of each signature to run.
        batch_sizes: Numbers of rows to run with, one after another; a signature whose requests do
            not share runs is run with one row only.
        told: Names of signatures whose refusal is in the log already; it gets the new ones.

    Returns:
        Names of the signatures that took no zeros.
    """
    refused = {}
    for name, inputs in specs.items():
        if warmed.may_end_the_process(name):
            refused[name] = (
                "takes no made-up inputs, its first request warms it up: an input declares no "
                "rank, and a wrong rank may end the process"
            )
            continue
        for rows in batch_sizes if warmed.batched[name] else batch_sizes[:1] and (1,):
            if error := _run(warmed, name, inputs, rows):
                refused[name] = (
                    "takes no made-up inputs of zeros, its first request warms it up "
                    f"({' '.join(error.message.split())})"
                )
                break
    for name in refused.keys() - told:
        logger.info("%s: signature %s %s", warmed, name, refused[name])
    told.update(refused)
    return frozenset(refused)


def _run(
    warmed: Warmed, name: str, specs: Mapping[str, TensorSpec], rows: int
) -> ServingError | None:
    """Run a signature on made-up inputs until the graph accepts them.

    Returns:
        None if the graph accepted some of them, or none could be made up; else the last error.
    """
    refusal = None
    control = SessionControl()
    for inputs in made_up_inputs.zeros(specs, rows):
        try:
            with control.within(_SECONDS):
                warmed.run(name, inputs, list(warmed.signatures[name].outputs), control)
        except ServingError as error:
            refusal = error
        else:
            return None
        if control.terminated:
            break
    return refusal
