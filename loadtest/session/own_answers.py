"""The server's own answers to every row, asked one at a time before a run.

One request is under way at a time, so the server has nothing to mix up. Under load every answer
must be the same. Rows are asked for one by one where a model takes single rows and its outputs have
a row for each; otherwise the requests of the run are, one by one.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from loadtest.figures.agreement import Agreement, Array, RecordedClasses
from loadtest.generator.assignment import Assignment
from loadtest.rows.dataset import Dataset
from loadtest.rows.images import Queries
from loadtest.settings.config import LoadTestConfig
from loadtest.transports.api import BAD_RESPONSE, Answer, CallError
from loadtest.transports.sender import Lane, Sender, TimedResponse

# From so many requests on, a line on standard error says why nothing happens yet.
_MANY = 100


async def ask(assignment: Assignment, dataset: Dataset, row_ids: Sequence[int] | Array) -> bytes:
    """Send one request over a connection of its own and return the answer's bytes.

    Args:
        assignment: Target, API and connection.
        dataset: All rows.
        row_ids: Indices of the rows to send.

    Raises:
        CallError: The request failed.
    """
    sender = replace(assignment, server_timing=False).sender(1)
    try:
        return await _body(sender, sender.lane(0), assignment, dataset, row_ids)
    finally:
        await sender.close()


async def agreement(
    config: LoadTestConfig, assignment: Assignment, dataset: Dataset, first: Answer
) -> Agreement | None:
    """Return the recorded answers of the rows: the file's, or the server's own; None without any.

    Raises:
        CallError: The server did not answer.
    """
    tolerance = config.data.answer_tolerance
    if dataset.classes is not None:
        return Agreement(
            source="file", classes=RecordedClasses(dataset.classes), tolerance=tolerance
        )
    if dataset.outputs:
        return Agreement(source="file", outputs=dataset.outputs, tolerance=tolerance)
    wanted = config.data.record_answers
    if wanted is None:
        wanted = config.models_dir is None and dataset.labels is None
    if not wanted:
        return None
    return await record(
        assignment,
        dataset,
        assignment.known_queries(len(dataset)),
        assignment.sent_queries(len(dataset)),
        first=first,
        tolerance=tolerance,
    )


async def record(
    assignment: Assignment,
    dataset: Dataset,
    queries: Queries,
    count: int,
    *,
    first: Answer,
    tolerance: float,
) -> Agreement:
    """Ask for the answers to the first queries of a run.

    Args:
        assignment: Target, API and connection.
        dataset: All rows.
        queries: The rows of each query.
        count: Number of queries that the run sends.
        first: The answer to the first query, which tells the form of the outputs.
        tolerance: See Agreement.

    Raises:
        CallError: A request failed, or its answer cannot be read.
    """
    api = assignment.api
    singly = queries.batch > 1 and _takes_rows(dataset, first, len(queries.image_ids(0)))
    asked = [queries.image_ids(query) for query in range(count)]
    if singly:
        asked = [np.array([row]) for row in np.concatenate(asked)]
    if len(asked) >= _MANY:
        what = "rows" if singly or queries.batch == 1 else f"requests of {queries.batch} rows"
        sys.stderr.write(
            f"recording the server's answers to {len(asked):,} {what}, one at a time\n"
        )
    answers: list[Answer] = []
    sender = replace(assignment, server_timing=False).sender(1)
    try:
        lane = sender.lane(0)
        for row_ids in asked:
            body = await _body(sender, lane, assignment, dataset, row_ids)
            try:
                answers.append(api.parse(body, len(row_ids)))
            except ValueError as error:
                raise CallError(BAD_RESPONSE, str(error)) from error
    finally:
        await sender.close()
    if api.reads_classes:
        classes = np.full(len(dataset), -1, np.int64)
        for row_ids, answer in zip(asked, answers, strict=True):
            classes[row_ids] = answer.classes
        return Agreement(source="server", classes=RecordedClasses(classes), tolerance=tolerance)
    if singly:
        by_row = {int(ids[0]): answer.outputs for ids, answer in zip(asked, answers, strict=True)}
        found: list[Mapping[str, Array]] = [
            _together([by_row[row] for row in queries.image_ids(query).tolist()])
            for query in range(count)
        ]
    else:
        found = [answer.outputs for answer in answers]
    return Agreement(source="server", queries=dict(enumerate(found)), tolerance=tolerance)


def _takes_rows(dataset: Dataset, first: Answer, rows: int) -> bool:
    """Return whether a model takes single rows and answers each with a row of every output."""
    taken = all(known.shape is None or known.shape[:1] == (-1,) for known in dataset.inputs)
    return taken and all(output.shape[:1] == (rows,) for output in first.outputs.values())


def _together(rows: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Return the outputs of single rows as those of one request.

    Rows of unequal shapes have no such form. Their outputs are then those of the first row, which
    no answer to several rows equals.
    """
    joined: dict[str, Array] = {}
    for name, output in rows[0].items():
        parts = [row[name] for row in rows if name in row]
        equal = len(parts) == len(rows) and len({part.shape for part in parts}) == 1
        joined[name] = np.concatenate(parts) if equal else output
    return joined


async def _body(
    sender: Sender,
    lane: Lane,
    assignment: Assignment,
    dataset: Dataset,
    row_ids: Sequence[int] | Array,
) -> bytes:
    try:
        response = await lane(assignment.payload(dataset, row_ids))
    except sender.failures as error:
        raise CallError(*sender.explain(error)) from error
    return response.body if isinstance(response, TimedResponse) else response
