"""The load generator of one process: it sends a plan's requests and records their outcomes.

Open loop: requests are sent at times fixed before the run, whether or not earlier ones are
answered, and latency counts from those times. A pause of the server therefore shows in every
request that was due during it. Closed loop: each of N users sends its next request when its last
one is answered. This measures the latency that waiting callers see, not an offered rate.
"""

import asyncio
import gc
import itertools
import time
from collections.abc import Iterator, Sequence

from loadtest.generator.increments import Increments
from loadtest.generator.recording import CONNECTION_ERRORS, Recorder, Recording
from loadtest.load.plan import Plan, Progress, Share
from loadtest.transports.sender import Lane, Sender, TimedResponse

# A caller whose request did not reach the server lets as much time pass as its last answer took,
# within these limits. Else the callers of a closed loop would take the processor from a server that
# is starting, and count one outage as thousands of failures.
_PAUSE_SECONDS = (0.02, 0.25)
# The run ends if no answer came for this multiple of the request deadline.
_SILENT_TIMEOUTS = 3
_TICK_SECONDS = 0.1
_NS_PER_MS = 1_000_000
_NS_PER_SECOND = 1_000_000_000


class Generator:
    """The generator of one process' share of a run."""

    def __init__(
        self,
        plan: Plan,
        sender: Sender,
        payloads: Sequence[bytes],
        *,
        connections: int,
        share: Share = Share(),  # noqa: B008 - immutable
    ) -> None:
        """Prepare a run; call this in the event loop that runs it.

        Args:
            plan: Load of the whole run.
            sender: Connections of this process.
            payloads: Request body of each query; request i of the run sends body i modulo
                len(payloads).
            connections: Number of connections of this process.
            share: This process' part of the plan.
        """
        self._plan = plan
        self._sender = sender
        self._payloads = payloads
        self._connections = connections
        self._share = share
        self._recorder = Recorder()
        self._increments = Increments(self._recorder, share.process) if plan.watched else None
        self._cpu_at_start: float | None = None
        self._slots = max(1, share.of(plan.in_flight))
        self._lanes = [sender.lane(slot) for slot in range(self._slots)]
        self._free = list(range(self._slots))
        self._in_flight_max = 0
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._warmup_sent = 0
        self._warmup_failed = 0
        self._stop: tuple[str, str] | None = None
        self._stopped = asyncio.Event()
        self._quiet_since_ns = 0
        self._seen_by_progress = 0
        self._over = 0

    async def warm_up(self) -> None:
        """Send the untimed requests over all connections; the first on each opens it."""
        lanes = min(self._slots, self._connections)
        each = max(1, -(-self._share.of(self._plan.warmup_requests) // lanes))
        bodies = itertools.cycle(self._payloads)

        async def user(lane: Lane) -> None:
            for body in itertools.islice(bodies, each):
                if self._stop is not None:
                    return
                self._warmup_sent += 1
                try:
                    await lane(body)
                except self._sender.failures:
                    self._warmup_failed += 1

        await asyncio.gather(*(user(lane) for lane in self._lanes[:lanes]))

    async def run(self, start_ns: int) -> Recording:
        """Send the timed requests.

        Args:
            start_ns: Start of the schedule, on the clock of time.monotonic_ns.

        Returns:
            The recording, also if the run was stopped early.
        """
        # Payloads and modules live as long as the process; once frozen, they are not traversed by
        # every garbage collection.
        gc.collect()
        gc.freeze()
        watch = asyncio.create_task(self._watch())
        cpu_at_start = self._cpu_at_start = time.process_time()
        try:
            if self._plan.rate_per_second is None:
                await self._closed_loop(start_ns)
            else:
                await self._open_loop(start_ns)
            await self._drain()
        finally:
            watch.cancel()
            gc.unfreeze()
        return self._recorder.recording(
            in_flight_max=self._in_flight_max,
            cpu_seconds=time.process_time() - cpu_at_start,
            warmup=(self._warmup_sent, self._warmup_failed),
            stop=self._stop,
        )

    def stop(self, kind: str, reason: str) -> None:
        """Send no more requests; those under way may finish. The first reason given is kept.

        Args:
            kind: "interrupted" or "aborted".
            reason: Explanation for the report.
        """
        if self._stop is None:
            self._stop = (kind, reason)
        self._stopped.set()

    def abandon(self) -> None:
        """Cancel the requests under way."""
        for task in self._tasks.values():
            task.cancel()

    def progress(self) -> Progress:
        """Return the counts so far and, for a watched plan, what is new since the last call."""
        recorder = self._recorder
        if self._plan.slo_ms is not None:
            limit_ns = int(self._plan.slo_ms * _NS_PER_MS)
            self._over += recorder.answered_late(limit_ns, since=self._seen_by_progress)
            self._seen_by_progress = recorder.finished
        return Progress(
            finished=recorder.finished,
            failed=recorder.failed,
            missed=recorder.missed,
            in_flight=recorder.sent - recorder.finished,
            over=self._over + recorder.failed + recorder.missed,
            increments=() if self._increments is None else (self._increments.take(self._cpu()),),
        )

    def _cpu(self) -> float:
        """Return the processor time of this process since the first timed request, in seconds."""
        return 0.0 if self._cpu_at_start is None else time.process_time() - self._cpu_at_start

    async def _open_loop(self, start_ns: int) -> None:
        loop = asyncio.get_running_loop()
        arrivals = self._plan.arrivals(self._share)
        due: Iterator[tuple[int, int]] = zip(
            arrivals.numbers.tolist(), (start_ns + arrivals.due_ns).tolist(), strict=True
        )
        following = next(due, None)

        def send_due() -> None:
            nonlocal following
            while following is not None and not self._stopped.is_set():
                number, due_ns = following
                if due_ns > time.monotonic_ns():
                    loop.call_at(due_ns / _NS_PER_SECOND, send_due)
                    return
                self._launch(number, due_ns, loop)
                following = next(due, None)
            self._stopped.set()

        send_due()
        await self._stopped.wait()

    def _launch(self, number: int, due_ns: int, loop: asyncio.AbstractEventLoop) -> None:
        """Start a request that is due; count it as missed if no slot is free."""
        if not self._free:
            self._recorder.miss(number, due_ns)
            return
        slot = self._free.pop()
        self._in_flight_max = max(self._in_flight_max, self._slots - len(self._free))
        self._tasks[slot] = loop.create_task(self._send_and_free(slot, number, due_ns))

    async def _send_and_free(self, slot: int, number: int, due_ns: int) -> None:
        try:
            await self._send(self._lanes[slot], number, due_ns)
        finally:
            self._free.append(slot)

    async def _closed_loop(self, start_ns: int) -> None:
        await asyncio.sleep((start_ns - time.monotonic_ns()) / _NS_PER_SECOND)
        plan, share = self._plan, self._share
        numbers: Iterator[int] = itertools.count(share.process, share.processes)
        if plan.requests is not None:
            numbers = iter(range(share.process, plan.requests, share.processes))
        end_ns = None
        if plan.duration_seconds is not None:
            end_ns = start_ns + int(plan.duration_seconds * _NS_PER_SECOND)
        users = share.of(plan.in_flight)
        if users == 0:  # fewer users than processes: other processes run them
            return
        self._in_flight_max = users

        async def user(lane: Lane) -> None:
            shortest, longest = _PAUSE_SECONDS
            usual = 0.0
            for number in numbers:
                if self._stopped.is_set() or (end_ns and time.monotonic_ns() >= end_ns):
                    return
                began = time.monotonic_ns()
                reached = await self._send(lane, number, None)
                took = (time.monotonic_ns() - began) / _NS_PER_SECOND
                if reached:
                    usual = took
                else:
                    await asyncio.sleep(max(0.0, min(max(usual, shortest), longest) - took))

        for slot in range(users):
            self._tasks[slot] = asyncio.create_task(user(self._lanes[slot]))
        await asyncio.wait(self._tasks.values())

    async def _send(self, lane: Lane, number: int, due_ns: int | None) -> bool:
        """Send one request, record its answer or error, and return whether the server gave it."""
        recorder, clock = self._recorder, time.monotonic_ns
        body = self._payloads[number % len(self._payloads)]
        recorder.sent += 1
        sent_ns = clock()
        if due_ns is None:
            due_ns = sent_ns
        if recorder.sent == recorder.finished + 1 and not recorder.connection_failures_in_a_row:
            self._quiet_since_ns = sent_ns  # no request was waiting for an answer before this one
        try:
            response = await lane(body)
        except self._sender.failures as error:
            end_ns = clock()
            failure = self._sender.explain(error)
            recorder.error(number, due_ns, sent_ns, end_ns, failure)
            most = self._plan.abort_after_errors
            if most and recorder.connection_failures_in_a_row >= most:
                self.stop(
                    "aborted",
                    f"{most:,} requests in a row did not reach the server, "
                    f"the last one with {failure[0]}: {failure[1]}",
                )
            return failure[0] not in CONNECTION_ERRORS
        except asyncio.CancelledError:
            recorder.give_up(number, due_ns, sent_ns)
            raise
        except Exception as error:  # noqa: BLE001 - a bug here must not look like a server's error
            recorder.give_up(number, due_ns, sent_ns)
            self.stop("aborted", f"the load generator failed: {error!r}")
            return False
        end_ns = clock()
        self._quiet_since_ns = end_ns
        if isinstance(response, TimedResponse):
            recorder.answer(number, due_ns, sent_ns, end_ns, response.body)
            recorder.timing(response.timing)
        else:
            recorder.answer(number, due_ns, sent_ns, end_ns, response)
        return True

    async def _drain(self) -> None:
        """Wait for the requests under way, at most 1 s longer than a deadline; then cancel them."""
        pending = [task for task in self._tasks.values() if not task.done()]
        if pending:
            _, late = await asyncio.wait(pending, timeout=self._plan.timeout_seconds + 1)
            for task in late:
                task.cancel()
            if late:  # a cancelled task records its request when it runs the next time
                await asyncio.wait(late, timeout=1)

    async def _watch(self) -> None:
        """Stop the run if the server hangs, unless outages are to be measured."""
        if not self._plan.abort_after_errors:
            return
        limit_seconds = _SILENT_TIMEOUTS * self._plan.timeout_seconds
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            recorder = self._recorder
            waiting = recorder.sent > recorder.finished or recorder.connection_failures_in_a_row > 0
            silent_seconds = (time.monotonic_ns() - self._quiet_since_ns) / _NS_PER_SECOND
            if waiting and silent_seconds > limit_seconds:
                self.stop("aborted", f"no answer for {silent_seconds:.0f} seconds")
