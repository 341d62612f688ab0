"""The first request of a run: it finds the model's input, or the reason why no run can start.

The reason is one line that says what was received, what was expected and which flag to change.
"""

import asyncio
import contextlib
from dataclasses import dataclass, replace

from loadtest.figures.agreement import Agreement
from loadtest.generator.assignment import Assignment
from loadtest.generator.recording import CONNECTION_ERRORS
from loadtest.load.scenarios import SettledLoad
from loadtest.report_schema import Transport
from loadtest.rows import class_check
from loadtest.rows.dataset import Dataset, Source
from loadtest.rows.own_pictures import OwnPictures
from loadtest.servers import class_names
from loadtest.session import own_answers
from loadtest.settings.config import LoadTestConfig, UsageError
from loadtest.settings.connection_flags import API_KEY_VARIABLE
from loadtest.transports import port_check
from loadtest.transports.api import BAD_RESPONSE, Answer, Api, CallError, has_classes
from loadtest.transports.catalogue import DISCOVERIES, is_rest
from loadtest.transports.port_check import Problem

# gRPC tries to connect again and again, for example with TLS at a port of plain text. After this
# time the port is looked at while the request goes on.
_PATIENCE_SECONDS = 1.0
_OTHER_REQUEST_SECONDS = 3.0
_AUTHORIZATION = "authorization"


@dataclass(frozen=True, kw_only=True)
class First:
    """The first request, and what follows from its answer.

    Attributes:
        assignment: The assignment of the generators.
        dataset: The rows that are sent.
        body: The bytes of the answer.
        answer: The answer.
        agreement: The recorded answers of the rows: the file's, or the server's own; None without.
    """

    assignment: Assignment
    dataset: Dataset
    body: bytes
    answer: Answer
    agreement: Agreement | None = None


async def discover(config: LoadTestConfig) -> Api:
    """Ask the server for the model's inputs.

    Raises:
        CallError: The server cannot be reached, or does not serve the model.
    """
    # KServe v2 has no labels, and the command line refuses one for it.
    label = {} if config.version_label is None else {"version_label": config.version_label}
    return await DISCOVERIES[config.transport](
        config.target,
        config.model,
        config.version,
        timeout_seconds=config.timeout_seconds,
        connection=config.connection,
        **label,
    )


async def prepare(source: Source, config: LoadTestConfig) -> None:
    """Decode own pictures at the size that the model takes, before their number plans the load.

    A server that does not answer is left to `FirstRequest`, which finds the reason.

    Raises:
        UsageError: The pictures cannot be decoded.
    """
    if not isinstance(source, OwnPictures):
        return
    with contextlib.suppress(CallError, TimeoutError):
        api = await asyncio.wait_for(discover(config), _OTHER_REQUEST_SECONDS)
        source.decode_for(api.inputs)


class FirstRequest:
    """The first request of a run."""

    def __init__(
        self, config: LoadTestConfig, source: Source, load: SettledLoad, *, every_query: bool
    ) -> None:
        """Send nothing yet; see `session.open_session`."""
        self._config = config
        self._source = source
        self._load = load
        self._every_query = every_query

    async def send(self) -> First:
        """Discover the model's inputs, send one request, and record the server's own answers.

        Raises:
            UsageError: The server cannot be reached, refuses the request (its message is quoted),
                or gives an answer that cannot be scored; or the rows do not fit the model, or
                have other classes.
        """
        asking = asyncio.create_task(self._ask(self._config))
        try:
            await asyncio.wait({asking}, timeout=_PATIENCE_SECONDS)
            if not asking.done():
                problem = await self._look()
                if problem is not None and problem.certain and not asking.done():
                    raise UsageError(await self._told(problem))
            first = await asking
            await asyncio.to_thread(_check_classes, self._config, first)
            return replace(
                first,
                agreement=await own_answers.agreement(
                    self._config, first.assignment, first.dataset, first.answer
                ),
            )
        except CallError as error:
            raise UsageError(" ".join((await self._reason(error)).split())) from error
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _ask(self, config: LoadTestConfig) -> First:
        """Send one request with these settings.

        Raises:
            CallError: The request failed, or its answer cannot be scored.
            UsageError: The rows do not fit the model.
        """
        api = await discover(config)
        dataset = self._source.fit(api.inputs, model=config.model, batch=self._load.batch)
        _check(config, dataset)
        assignment = Assignment(
            target=config.target,
            transport=config.transport,
            api=replace(api, inputs=dataset.inputs),
            batch=self._load.batch,
            order_seed=config.seed,
            queries=None if self._every_query else self._load.plan.requests,
            connections=self._load.connections,
            timeout_seconds=config.timeout_seconds,
            connection=config.connection,
            server_timing=config.server_timing,
            images=self._load.images,
        )
        row_ids = assignment.known_queries(len(dataset)).image_ids(0)
        body = await own_answers.ask(assignment, dataset, row_ids)
        answer, assignment = _read(assignment, body, dataset, len(row_ids))
        return First(assignment=assignment, dataset=dataset, body=body, answer=answer)

    async def _reason(self, error: CallError) -> str:
        """Return why the request failed."""
        target = self._config.target
        if error.kind in CONNECTION_ERRORS:
            problem = await self._look()
            if problem is None:
                return f"cannot reach a server at {target}: {error}"
            return await self._told(problem)
        if error.kind in {"UNAUTHENTICATED", "HTTP_401"}:
            return _key_needed(self._config, error)
        if error.kind in {"PERMISSION_DENIED", "HTTP_403"}:
            return (
                f"{target} does not allow this call ({error}); expected an API key or a client "
                "certificate that may call the model; change --api-key-file or --cert"
            )
        return await self._refusal(error)

    async def _refusal(self, error: CallError) -> str:
        """Return the server's refusal, and with which flag it answers the same request."""
        config, model = self._config, _model(self._config)
        text = f"{config.target} refused a request for {model}: {error}"
        if error.kind == BAD_RESPONSE:
            text = f"the answer of {config.target} for {model} cannot be scored: {error.message}"
        compression = config.connection.compression
        if await self._would_be_answered(_without_compression(config)):
            return f"{text}; it answers without compression; leave out --compression {compression}"
        others = await self._answered_transports()
        if others:
            answered = " and ".join(others)
            return f"{text}; it answers the same over {answered}; pass --transport {others[0]}"
        if error.kind == "UNIMPLEMENTED":
            text += f"; expected a server of {config.transport}; --transport names the others"
        return text

    async def _told(self, problem: Problem) -> str:
        """Return the text of a problem, with the flag to change if the protocol is wrong."""
        if not problem.wrong_protocol:
            return problem.text
        transport = self._config.transport
        kind = "REST" if is_rest(transport) else "gRPC"
        text = f"{problem.text}, which --transport {transport} needs"
        others = await self._answered_transports()
        if others:
            return f"{text}; pass --transport {others[0]}, which it answers, or its port for {kind}"
        return f"{text}; name the server's port for {kind} with --target, or another --transport"

    async def _look(self) -> Problem | None:
        config = self._config
        needed: port_check.Protocol = "HTTP/1.1" if is_rest(config.transport) else "HTTP/2"
        return await asyncio.to_thread(port_check.check, config.target, config.connection, needed)

    async def _answered_transports(self) -> list[Transport]:
        """Return the other transports that answer the same request, the same API first."""
        own = self._config.transport
        api = own.partition("-")[0]
        others = [transport for transport in DISCOVERIES if transport != own]
        others.sort(key=lambda transport: not transport.startswith(api))
        configs = [replace(self._config, transport=other) for other in others]
        answered = await asyncio.gather(*map(self._would_be_answered, configs))
        return [other for other, known in zip(others, answered, strict=True) if known]

    async def _would_be_answered(self, config: LoadTestConfig | None) -> bool:
        """Return whether a request with these settings is answered."""
        if config is None or (config.version_label and not config.transport.startswith("tfs")):
            return False
        try:
            await asyncio.wait_for(self._ask(config), _OTHER_REQUEST_SECONDS)
        except (CallError, UsageError, TimeoutError):
            return False
        return True


def _without_compression(config: LoadTestConfig) -> LoadTestConfig | None:
    """Return the settings without compression; None if they have none."""
    if config.connection.compression is None:
        return None
    return replace(config, connection=replace(config.connection, compression=None))


def _key_needed(config: LoadTestConfig, error: CallError) -> str:
    if _AUTHORIZATION in dict(config.connection.headers):
        return (
            f"{config.target} does not accept the API key that was sent ({error}); expected a key "
            f"of the server; change --api-key-file or ${API_KEY_VARIABLE}"
        )
    return (
        f"{config.target} demands an API key, and none was sent ({error}); add --api-key-file FILE "
        f"or set ${API_KEY_VARIABLE}"
    )


def _model(config: LoadTestConfig) -> str:
    name = f"model {config.model!r}"
    if config.version is not None:
        return f"{name} version {config.version}"
    return name if config.version_label is None else f"{name} label {config.version_label!r}"


def _check(config: LoadTestConfig, dataset: Dataset) -> None:
    """Refuse a comparison that these rows do not allow.

    Raises:
        UsageError: A gate needs labels, or there are two records to compare with.
    """
    if config.gates.min_accuracy is not None and dataset.labels is None:
        msg = "--min-accuracy given, but the rows have no labels; leave it out, or add labels"
        raise UsageError(msg)
    recorded = dataset.classes is not None or dataset.outputs
    if recorded and (config.data.record_answers or config.models_dir is not None):
        other = "--models-dir" if config.models_dir is not None else "--record-answers"
        msg = f"{config.data.inputs} has recorded answers; leave out {other}, or these answers"
        raise UsageError(msg)


def _check_classes(config: LoadTestConfig, first: First) -> None:
    """Compare the classes of the rows with those of the model, as far as they are known.

    Raises:
        UsageError: They differ.
    """
    if first.dataset.labels is None or not first.dataset.class_names:
        return
    answer, api = first.answer, first.assignment.api
    known = (answer.version, api.served_version, config.version)
    version = next((each for each in known if each is not None), None)
    names: tuple[str, ...] = ()
    if config.models_dir is not None:
        names = class_names.of_folder(config.models_dir, config.model, version)
    class_check.check(
        first.dataset,
        config.model,
        names=names
        or class_names.of_server(config.target, config.model, version, config.connection),
        scores=class_check.score_count(answer.outputs, answer.output),
    )


def _read(
    assignment: Assignment, answer: bytes, dataset: Dataset, rows: int
) -> tuple[Answer, Assignment]:
    """Read the first answer; without labels and recorded classes, it need not hold classes.

    Returns:
        The answer, and the assignment with an API that reads classes if there are any.

    Raises:
        CallError: The answer cannot be scored.
    """
    try:
        if dataset.labels is None and dataset.classes is None:
            outputs = replace(assignment.api, reads_classes=False).parse(answer, rows).outputs
            api = replace(assignment.api, reads_classes=has_classes(outputs, rows))
            assignment = replace(assignment, api=api)
        return assignment.api.parse(answer, rows), assignment
    except ValueError as error:
        raise CallError(BAD_RESPONSE, str(error)) from error
