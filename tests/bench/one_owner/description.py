"""What a protocol process knows about a servable of the owner: all but its graphs."""

from collections.abc import Mapping
from dataclasses import dataclass

from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.servable import Servable
from serving.errors import Unsupported
from serving.tensors.signature import Signature
from serving.tensors.tensor_spec import TensorSpec
from serving.tensors.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Description:
    """The attributes of a `Servable`, which have the same names, and the results of its methods.

    Attributes:
        endable: Signatures for which `Servable.may_end_the_process` is true.
    """

    name: str
    version: int
    precision: str
    signatures: Mapping[str, Signature]
    verdicts: Mapping[str, Verdict]
    batched: Mapping[str, bool]
    declared: Mapping[str, Mapping[str, TensorSpec]]
    instances: int
    class_names: tuple[str, ...]
    warm_up_seconds: float
    load_bytes: int
    provider: str
    platform: str
    batching: BatchingConfig
    endable: frozenset[str]

    @classmethod
    def of(cls, servable: Servable) -> "Description":
        """Describe a servable.

        Raises:
            Unsupported: a tensor has strings or a free size beside the rows; slots hold neither.
        """
        for signature in servable.signatures.values():
            for spec in (*signature.model_inputs.values(), *computed(signature).values()):
                if spec.numpy_dtype.kind not in "biufc" or -1 in _row(spec):
                    msg = (
                        f"tensor {spec.tensor} of {servable} is {spec.dtype.name} "
                        f"{spec.shape_text}, expected numbers with fixed sizes of a row"
                    )
                    raise Unsupported(msg)
        return cls(
            name=servable.name,
            version=servable.version,
            precision=servable.precision,
            signatures=servable.signatures,
            verdicts=servable.verdicts,
            batched=servable.batched,
            declared=servable.declared,
            instances=servable.instances,
            class_names=servable.class_names,
            warm_up_seconds=servable.warm_up_seconds,
            load_bytes=servable.load_bytes,
            provider=servable.provider,
            platform=servable.platform,
            batching=servable.batching,
            endable=frozenset(filter(servable.may_end_the_process, servable.signatures)),
        )

    def sizes(self) -> list[int]:
        """Return the sizes of the arrays of the largest batch, in bytes: its inputs or outputs."""
        rows = self.batching.max_batch_size
        return max(
            (
                [_row_bytes(spec) * rows for spec in specs.values()]
                for signature in self.signatures.values()
                for specs in (signature.model_inputs, computed(signature))
            ),
            key=sum,
        )


def computed(signature: Signature) -> dict[str, TensorSpec]:
    """Return the outputs that the graph computes, by alias."""
    return {alias: spec for alias, spec in signature.outputs.items() if not spec.constant}


def _row(spec: TensorSpec) -> tuple[int, ...]:
    return (-1,) if spec.shape is None else spec.shape[1:]


def _row_bytes(spec: TensorSpec) -> int:
    size = spec.numpy_dtype.itemsize
    for length in _row(spec):
        size *= length
    return size
