"""The binding of a version: what its batches run on, decided when the version is loaded."""

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from serving.engine.batching.prepared_runs import RunBatch
from serving.engine.binding.bound_run import BoundSignature
from serving.engine.binding.graph_binding import BoundRuns, GraphBinding
from serving.engine.devices.provider import CUDA
from serving.engine.runtime import GraphRuntime, Runtime, RuntimeConfig
from serving.tensors.signature import Signature
from serving.tensors.tensor_spec import TensorSpec


class VersionBinding:
    """Prepares the bound runs of a version's graphs in each worker thread.

    Attributes:
        turn: Held by the worker thread that prepares; one thread prepares after another.
        planned_sizes: Batch sizes that the threads try to prepare, ascending.
        reasons: Why signatures have no bound runs, by signature name.
    """

    def __init__(
        self,
        servable: str,
        signatures: Mapping[str, Signature],
        runtimes: Mapping[str, GraphRuntime],
        sizes: Sequence[int],
        refusals: Mapping[str, str],
    ) -> None:
        """Prepare nothing yet.

        Args:
            servable: The version, as `name/version`, for the log.
            signatures: The signatures by name.
            runtimes: The loaded graphs by file.
            sizes: Batch sizes, ascending.
            refusals: Why signatures are to have no bound runs, by signature name.
        """
        self.turn = threading.Lock()
        self.planned_sizes = tuple(sizes)
        self.reasons = dict(refusals)
        self._graphs: list[GraphBinding] = []
        for file, runtime in runtimes.items():
            bindable = [
                each
                for name, signature in signatures.items()
                if signature.file == file and (each := self._bindable(name, signature, runtime))
            ]
            if bindable and isinstance(runtime, Runtime):
                on_cuda = runtime.provider == CUDA
                self._graphs.append(
                    GraphBinding(servable, runtime.sessions, bindable, sizes, on_cuda=on_cuda)
                )

    def _bindable(
        self, name: str, signature: Signature, runtime: GraphRuntime
    ) -> BoundSignature | None:
        """Return the fixed shapes of a signature; None if it has none, with a note of the reason.

        Requests that share runs have the signature's shapes and those of the graph.
        """
        if name in self.reasons:
            return None
        inputs = {
            alias: _merged(spec, runtime.inputs[spec.tensor])
            for alias, spec in signature.model_inputs.items()
        }
        outputs = {
            alias: _merged(spec, runtime.outputs[spec.tensor])
            for alias, spec in signature.outputs.items()
            if not spec.constant
        }
        for kind, specs in (("input", inputs), ("output", outputs)):
            for alias, spec in specs.items():
                if reason := _not_fixed(spec):
                    self.reasons[name] = f'{kind} "{alias}" {reason}'
                    return None
        constants = {alias: spec for alias, spec in signature.outputs.items() if spec.constant}
        return BoundSignature(name, inputs, outputs, constants)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The batch sizes that every graph has prepared in every thread; empty without any."""
        of_graphs = [graph.sizes for graph in self._graphs if graph.sizes]
        return min(of_graphs, key=len) if of_graphs else ()

    def prepare(self, refused: Collection[str], unbound: RunBatch) -> BoundRuns:
        """Prepare the bound runs of the calling thread; see `GraphBinding.prepare`."""
        bound: BoundRuns = {}
        for graph in self._graphs:
            bound |= graph.prepare(refused, unbound)
        return bound

    def describe(self) -> str:
        """Return what the batches run on, as a text for the log."""
        texts = [graph.describe() for graph in self._graphs]
        texts += [f"no fixed buffers for {name} ({why})" for name, why in self.reasons.items()]
        return "; ".join(texts)


def plan(
    servable: str,
    signatures: Mapping[str, Signature],
    runtimes: Mapping[str, GraphRuntime],
    *,
    batched: Mapping[str, bool],
    config: RuntimeConfig,
    sizes: Sequence[int],
    warm_up: bool = True,
) -> VersionBinding | None:
    """Return the binding of a version; None if it needs none, on the CPU by default.

    On CUDA a version always has one, so that its worker threads warm up: cuDNN handles are kept by
    thread.

    Args:
        servable: The version, as `name/version`, for the log.
        signatures: The signatures by name.
        runtimes: The loaded graphs by file.
        batched: Whether requests to a signature share runs, by signature name.
        config: See `RuntimeConfig`.
        sizes: Batch sizes, ascending.
        warm_up: Whether the version is warmed up; runs are bound only then.
    """
    provider = next(iter(runtimes.values())).provider
    if provider != CUDA and not config.binds(provider):
        return None
    if not all(isinstance(runtime, Runtime) for runtime in runtimes.values()):
        return None  # a SavedModel
    refusals = {name: "its requests run alone" for name, shared in batched.items() if not shared}
    if not config.binds(provider):
        refusals = dict.fromkeys(signatures, "--io_binding is off")
    elif not warm_up:
        refusals = dict.fromkeys(signatures, "--enable_model_warmup is off")
    return VersionBinding(servable, signatures, runtimes, sizes, refusals)


def describe_cuda(config: RuntimeConfig, precision: str) -> str:
    """Return what the settings choose on CUDA, as a text for the log."""
    why = "--precision" if config.precision != "auto" else "the version's fastest on CUDA"
    tf32 = "on" if config.cuda.tf32 else "off"
    nhwc = "on" if config.cuda.prefer_nhwc else "off"
    return (
        f"precision {precision} ({why}), TF32 {tf32} (--cuda_tf32), "
        f"NHWC {nhwc} (--cuda_prefer_nhwc)"
    )


def _merged(spec: TensorSpec, declared: TensorSpec) -> TensorSpec:
    """Return a spec with the sizes that the signature or the graph fixes."""
    if spec.shape is None or declared.shape is None or len(spec.shape) != len(declared.shape):
        return spec if spec.shape is not None else declared
    pairs = zip(spec.shape, declared.shape, strict=True)
    shape = tuple(ours if ours != -1 else theirs for ours, theirs in pairs)
    return spec if shape == spec.shape else replace(spec, shape=shape)


def _not_fixed(spec: TensorSpec) -> str:
    """Return why an input or output cannot have a fixed buffer; empty if it can."""
    if spec.numpy_dtype.kind not in "biuf":
        return f"has dtype {spec.dtype.name}"
    shape = spec.shape
    if shape is None or shape[:1] != (-1,) or -1 in shape[1:] or 0 in shape[1:]:
        return f"is {spec.shape_text}, expected a free first dimension and fixed further ones"
    return ""
