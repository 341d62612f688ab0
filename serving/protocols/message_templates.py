"""Read most requests of a method without protobuf, because consecutive ones are similar.

Reading messages through protobuf's Python objects takes longer than running a small model. Most
requests of a client differ only in the elements of the tensor: the bytes before and after the
elements (model, names, dtype, shape, lengths) are the same every time. A request that protobuf has
parsed can therefore become a template. A later message of the same length is read by the template
if its bytes before and after the elements are the template's; protobuf parses all other messages.
"""

import weakref
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from google.protobuf.message import Message

from serving.engine.batching.request_queue import Group
from serving.engine.servable import Servable
from serving.errors import ServingError
from serving.inference.predictor import Predictor
from serving.inference.request import ModelSpec, as_it_is, check_request
from serving.protos.nested_fields import find_nested
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME

# Limits of the template cache: templates in all, templates for messages of one length, and bytes
# kept per template.
_MAX_TEMPLATES = 256
_MAX_TEMPLATES_OF_A_LENGTH = 4
_MAX_SURROUNDING_BYTES = 2048
_LARGE_BYTES = 1 << 20

Request = TypeVar("Request", bound=Message)


class AcceptedKind(NamedTuple):
    """The result of checking the requests of a template against a servable.

    Attributes:
        group: Their group in the queue.
        rows: Number of independent rows of each; None if it cannot share a run.
    """

    group: Group
    rows: int | None


class Described(NamedTuple):
    """What a request with one input asks for.

    Attributes:
        spec: Model, version and signature.
        alias: Alias of the input.
        array: The input.
        output_filter: Output aliases to compute; empty for all.
    """

    spec: ModelSpec
    alias: str
    array: np.ndarray
    output_filter: tuple[str, ...]


class Template:
    """The parts that similar requests have in common.

    Attributes:
        request: The request of which the template was made, without its elements. All requests
            share it, so it must not be changed.
        spec: See `Described`, as for the next two.
        alias: Alias of the only input.
        output_filter: Output aliases to compute; empty for all.
    """

    __slots__ = (
        "_accepted",
        "_after",
        "_before",
        "_copies",
        "_dtype",
        "_servable",
        "_shape",
        "alias",
        "output_filter",
        "request",
        "spec",
    )

    def __init__(
        self,
        request: Any,  # noqa: ANN401 - a message of any type
        described: Described,
        before: bytes,
        after: bytes,
    ) -> None:
        """Make a template.

        Args:
            request: See the attribute.
            described: What the request asks for.
            before: The bytes of the serialized request before the elements.
            after: The bytes after the elements.
        """
        self.request = request
        self.spec, self.alias, array, self.output_filter = described
        self._before, self._after = before, after
        self._dtype, self._shape = array.dtype, array.shape
        # The content of a `bytes` object is aligned for any dtype. Elements at an offset that is no
        # multiple of their size are not aligned and must be copied.
        self._copies = len(before) % array.dtype.itemsize != 0
        self._servable: weakref.ref[Servable] | None = None
        self._accepted: AcceptedKind | None = None

    def read(self, message: bytes) -> np.ndarray | None:
        """Return the input of a message that has the template's length.

        Returns:
            The array, read-only if it shares the message's memory; None if the bytes around the
            elements are not the template's.
        """
        if not (message.startswith(self._before) and message.endswith(self._after)):
            return None
        array: np.ndarray = np.ndarray(self._shape, self._dtype, message, len(self._before))
        return array.copy() if self._copies else array

    def accept(self, servable: Servable, kind: AcceptedKind) -> None:
        """Remember that a servable accepts requests of this template, and the checks' result."""
        self._servable, self._accepted = weakref.ref(servable), kind

    def accepted_by(self, servable: Servable) -> AcceptedKind | None:
        """Return the result of the checks if `servable` was the last to accept; None otherwise."""
        return self._accepted if self._servable and self._servable() is servable else None


class TemplatedRequest:
    """A request that a template has read; used in place of the message.

    Attributes:
        template: The template that has read the request.
        array: The input, read-only if it shares the message's memory.
    """

    __slots__ = ("array", "template")

    def __init__(self, template: Template, array: np.ndarray) -> None:
        self.template = template
        self.array = array

    def begin(
        self, predictor: Predictor, deadline: float | None
    ) -> tuple[Servable, str, Awaitable[Mapping[str, np.ndarray]]]:
        """Start the run of this request.

        The checks are skipped if the servable has accepted an earlier request of the same template.

        Args:
            predictor: Finds the servable.
            deadline: `time.monotonic()` after which the request is dropped; None: no deadline.

        Returns:
            The servable, the name of the signature that runs, and an awaitable of the outputs by
            alias.

        Raises:
            ServingError: the request is refused.
        """
        template, array = self.template, self.array
        spec = template.spec
        servable = predictor.servable(spec)
        name = spec.signature_name or DEFAULT_SIGNATURE_NAME
        arrays = {template.alias: array}
        accepted = template.accepted_by(servable)
        if accepted is None:
            predictor.check_method_name(servable, name)
            checked = check_request(
                servable,
                name,
                arrays,
                as_it_is,
                template.output_filter,
                max_rows=predictor.max_rows(servable),
            )
            rows = len(array) if checked.batched else None
            accepted = AcceptedKind(Group.of(name, checked.outputs, checked.arrays), rows)
            if checked.is_whole:
                template.accept(servable, accepted)
            else:  # every request of this template needs its missing inputs filled in
                arrays = checked.arrays
        answer = servable.predict_group(accepted.group, arrays, accepted.rows, deadline)
        return servable, name, answer


Templated = TypeVar("Templated", bound=TemplatedRequest)


class TemplateReader(ABC, Generic[Request, Templated]):
    """Reads the requests of one method. Use it only from the event loop.

    Attributes:
        request_type: Message class of the requests.
        templated_type: Class of the requests that a template has read.
        path_to_elements: The fields that lead to the elements of a request's only input.
    """

    request_type: ClassVar[type[Any]]
    templated_type: ClassVar[type[Any]]
    path_to_elements: ClassVar[tuple[int, ...]]

    def __init__(self) -> None:
        self._templates: dict[int, list[Template]] = {}  # by length of the message
        self._seen: set[int] = set()  # lengths of messages that protobuf has parsed
        self._count = 0

    @abstractmethod
    def elements_of(self, request: Request) -> bytes | None:
        """Return the elements of a request's only input; None if it can be no template."""

    @abstractmethod
    def set_elements(self, request: Request, elements: bytes) -> None:
        """Replace the elements that `elements_of` returns."""

    @abstractmethod
    def describe(self, request: Request) -> Described:
        """Return what a request asks for that can be a template.

        Raises:
            ServingError: the request is refused.
        """

    def check_large(self, message: bytes) -> None:
        """Check a message of over 1 MiB before it is parsed.

        Raises:
            InvalidInput: the message is refused.
        """

    def read(self, message: bytes) -> Request | Templated:
        """Parse a serialized request.

        Raises:
            DecodeError: the bytes are not a message of the request's type.
            InvalidInput: see `check_large`.
        """
        length = len(message)
        if length > _LARGE_BYTES:
            self.check_large(message)
        templates = self._templates.get(length)
        if templates is not None:
            for template in templates:
                array = template.read(message)
                if array is not None:
                    templated: Templated = self.templated_type(template, array)
                    return templated
        request: Request = self.request_type.FromString(message)
        if length in self._seen:
            # The second message of this length: more may follow. Waiting for the second keeps
            # clients whose messages always have new lengths from filling the cache.
            self._learn(request, message)
        else:
            if len(self._seen) >= _MAX_TEMPLATES:
                self._seen.clear()
            self._seen.add(length)
        return request

    def _learn(self, request: Request, message: bytes) -> None:
        templates = self._templates.get(len(message), [])
        if len(templates) >= _MAX_TEMPLATES_OF_A_LENGTH:
            return
        template = self._template_of(request, message)
        if template is None:
            return
        if self._count >= _MAX_TEMPLATES:  # clear the cache: the old clients may be gone
            self._templates.clear()
            self._count = 0
        self._templates.setdefault(len(message), []).append(template)
        self._count += 1

    def _template_of(self, request: Request, message: bytes) -> Template | None:
        """Make a template of a request and its bytes; None if the request cannot be a template."""
        elements = self.elements_of(request)
        if not elements or len(message) - len(elements) > _MAX_SURROUNDING_BYTES:
            return None
        start, end = find_nested(message, self.path_to_elements) or (0, 0)
        if end - start != len(elements) or not self._are_the_elements(request, message, start, end):
            return None
        try:
            described = self.describe(request)
        except ServingError:
            return None  # the regular checks report the error to the client
        kept = self.request_type.FromString(message)
        self.set_elements(kept, b"")
        # A message keeps the memory of a field that is cleared: parse what is left anew.
        kept = self.request_type.FromString(kept.SerializeToString())
        return Template(kept, described, message[:start], message[end:])

    def _are_the_elements(self, request: Request, message: bytes, start: int, end: int) -> bool:
        """Whether the message's bytes from `start` to `end` are the elements and nothing else.

        The same bytes may also occur elsewhere by chance, in a name for example. The check inverts
        all bits between the positions and parses the message again: the elements must then be the
        inverted bytes, and the rest of the request must be the same.
        """
        changed = bytes(~np.frombuffer(message[start:end], np.uint8))
        try:
            other = self.request_type.FromString(message[:start] + changed + message[end:])
        except Exception:  # noqa: BLE001 - DecodeError, or text that is not UTF-8
            return False
        if self.elements_of(other) != changed:
            return False
        self.set_elements(other, message[start:end])
        return bool(other == request)
