"""A scheduler that runs threads in an order drawn from a seed, with a virtual clock.

The threads are real, but only one runs at a time. The scheduler may switch threads before each line
of chosen modules and when a thread waits. A seed determines the interleaving of all threads line by
line, so a race that was found can be repeated. A deadlock is found without waiting: no thread can
continue, and none waits for the clock.
"""

import asyncio
import random
import selectors
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from types import FrameType, ModuleType
from typing import Any, Self

import pytest

# Probability of a switch before a line, and of a stall: the thread stops as if the operating system
# did not run it, while other threads continue and time passes. Each module draws its own stall
# probability, so that some seeds stall mainly the queue and others the rest.
_SWITCH_SHARE = 0.1
_STALL_SHARES = (0.0, 0.01, 0.1)
_STALL_SECONDS = 0.01
_SWITCH_SECONDS = 1e-6
# No simulation that ends has more turns; with more, the threads loop forever.
_MOST_TURNS = 3_000_000


class Stuck(BaseException):
    """Every thread waits for another one. A BaseException, so no `except Exception` hides it."""


class _Turns:
    """A thread and the condition or time it waits for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.baton = threading.Semaphore(0)
        self.condition: Callable[[], object] | None = None
        self.wakes_at: float | None = None
        self.is_stalled = False


class Scheduler:
    """Decides which thread runs.

    Attributes:
        now: Time of the virtual clock in seconds.
        errors: Exceptions raised by threads other than the main thread.
        before_time_passes: Called before the clock jumps, if every thread waits and none is
            stalled. Returns why this is an error, or "" if it is none.
    """

    def __init__(self, seed: int, modules: Iterable[ModuleType]) -> None:
        """Create a scheduler whose only thread is the current one, the main thread.

        Args:
            seed: Seed of all random decisions.
            modules: Modules before whose lines the scheduler may switch threads.
        """
        self.random = random.Random(seed)
        self.now = 1000.0
        self.errors: list[BaseException] = []
        self.before_time_passes: Callable[[], str] = str
        self._stall_shares = {
            module.__file__: self.random.choice(_STALL_SHARES) for module in modules
        }
        self._main = _Turns("main")
        self._threads = [self._main]
        self._current = self._main
        self._turns = 0
        self._stuck = ""

    def __enter__(self) -> Self:
        """Start to trace the main thread, so that it may be switched."""
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop tracing; threads that have not ended stay blocked forever."""
        sys.settrace(None)

    @property
    def threads(self) -> list[str]:
        """Names of the threads that have not ended, without the main thread."""
        return [thread.name for thread in self._threads if thread is not self._main]

    def start(self, name: str, work: Callable[[], object]) -> Callable[[], bool]:
        """Start a thread; return a function that tells whether it has ended."""
        turns = _Turns(name)

        def run() -> None:
            turns.baton.acquire()
            sys.settrace(self._trace)
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - for the main thread to raise
                self.errors.append(error)
            sys.settrace(None)
            self._threads.remove(turns)
            self._choose().baton.release()

        self._threads.append(turns)
        threading.Thread(target=run, name=f"simulated-{name}", daemon=True).start()
        return lambda: turns not in self._threads

    def wait_until(self, condition: Callable[[], object], seconds: float | None = None) -> None:
        """Let other threads run until a condition holds or `seconds` of the clock have passed.

        Raises:
            Stuck: no thread can continue; raised only in the main thread.
        """
        me = self._current
        me.condition = condition
        me.wakes_at = None if seconds is None else self.now + max(0.0, seconds)
        self._hand_on(me)

    def sleep(self, seconds: float) -> None:
        """Let other threads run for some seconds of the clock."""
        self.wait_until(lambda: False, seconds)

    def step(self, stall_share: float = 0.0) -> None:
        """Switch to another thread, stall this one or continue, as the random generator decides."""
        chance, me = self.random.random(), self._current
        if chance < stall_share:
            me.is_stalled = True
            self.sleep(self.random.expovariate(1 / _STALL_SECONDS))
            me.is_stalled = False
        elif chance < stall_share + _SWITCH_SHARE:
            self._hand_on(me)

    def _hand_on(self, me: _Turns) -> None:
        chosen = self._choose()
        if chosen is not me:
            chosen.baton.release()
            me.baton.acquire()
        if self._stuck and me is self._main:
            raise Stuck(self._stuck)

    def _choose(self) -> _Turns:
        """Return the next thread that can continue; if there is none, let the clock jump first."""
        self.now += _SWITCH_SECONDS
        self._turns += 1
        if self._turns > _MOST_TURNS:
            self._stuck = f"threads loop forever: {', '.join(self.threads)}"
            return self._chosen(self._main)
        candidates = self._threads.copy()
        self.random.shuffle(candidates)
        for thread in candidates:
            if (
                thread.condition is None
                or thread.condition()
                or (thread.wakes_at is not None and thread.wakes_at <= self.now)
            ):
                return self._chosen(thread)
        sleeping = [thread for thread in candidates if thread.wakes_at is not None]
        if not any(thread.is_stalled for thread in candidates):
            self._stuck = self.before_time_passes()
        if not sleeping:
            self._stuck = f"every thread waits for another one: {', '.join(self.threads)}"
        if self._stuck:
            return self._chosen(self._main)
        first = min(sleeping, key=lambda thread: thread.wakes_at or 0.0)
        self.now = first.wakes_at or self.now
        return self._chosen(first)

    def _chosen(self, thread: _Turns) -> _Turns:
        thread.condition = thread.wakes_at = None
        self._current = thread
        return thread

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if event == "call":
            return self._trace if frame.f_code.co_filename in self._stall_shares else None
        if event == "line":
            self.step(self._stall_shares[frame.f_code.co_filename])
        return self._trace


class SimulatedThread:
    """Replaces `threading.Thread`."""

    def __init__(
        self, scheduler: Scheduler, *, target: Callable[[], object], name: str, daemon: bool
    ) -> None:
        self.name = name
        self._scheduler, self._target = scheduler, target
        self._has_ended: Callable[[], bool] = lambda: False

    def start(self) -> None:
        """Start the thread."""
        self._has_ended = self._scheduler.start(self.name, self._target)

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._scheduler.wait_until(self._has_ended)


class SimulatedQueue:
    """Replaces `queue.SimpleQueue`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._items: deque[Any] = deque()

    def put(self, item: object) -> None:
        """Add an item."""
        self._items.append(item)

    def get(self) -> Any:
        """Wait for an item and remove it."""
        if not self._items:
            self._scheduler.wait_until(lambda: self._items)
        return self._items.popleft()


class SimulatedLock:
    """Replaces `threading.Lock` in `with` statements."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._is_held = False

    def __enter__(self) -> Self:
        if self._is_held:
            self._scheduler.wait_until(lambda: not self._is_held)
        self._is_held = True
        return self

    def __exit__(self, *_: object) -> None:
        self._is_held = False


class SimulatedCondition(SimulatedLock):
    """Replaces `threading.Condition`."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self._notified = 0

    def notify_all(self) -> None:
        """Wake all waiting threads."""
        self._notified += 1

    def wait_for(self, predicate: Callable[[], object]) -> None:
        """Wait until the predicate holds; check it again after each notification."""
        while not predicate():
            seen = self._notified
            self.__exit__()
            self._scheduler.wait_until(lambda seen=seen: self._notified > seen)
            self.__enter__()


class _Selector(selectors.SelectSelector):
    """A selector that lets other threads run instead of sleeping."""

    scheduler: Scheduler
    is_woken = False

    def select(self, timeout: float | None = None) -> list[Any]:
        """Wait until another thread wakes the loop, or for `timeout` seconds of the clock."""
        if timeout is None or timeout > 0:
            self.scheduler.wait_until(lambda: self.is_woken, timeout)
        else:
            self.scheduler.step()
        self.is_woken = False
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop for the main thread that uses the scheduler's clock and threads."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._clock = scheduler
        self._wakeful = _Selector()
        self._wakeful.scheduler = scheduler
        super().__init__(self._wakeful)

    def time(self) -> float:
        """Return the time of the scheduler's clock in seconds."""
        return self._clock.now

    def _write_to_self(self) -> None:
        self._wakeful.is_woken = True

    def run_in_executor(  # type: ignore[override]  # the default executor alone
        self, executor: None, func: Callable[..., Any], *arguments: object
    ) -> "asyncio.Future[Any]":
        """Run a function in a new thread of the scheduler."""
        assert executor is None
        future = self.create_future()

        def settle(result: object, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def work() -> None:
            try:
                result, error = func(*arguments), None
            except BaseException as raised:  # noqa: BLE001 - raised by the future
                result, error = None, raised
            self.call_soon_threadsafe(settle, result, error)

        self._clock.start("executor", work)
        return future


def install(
    scheduler: Scheduler, modules: Iterable[ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replace the threads, queues and clocks that modules use by the scheduler's."""

    class Threading:
        """The parts of `threading` that the modules use."""

        @staticmethod
        def Thread(**settings: Any) -> SimulatedThread:  # noqa: N802 - the name in `threading`
            return SimulatedThread(scheduler, **settings)

        @staticmethod
        def Condition() -> SimulatedCondition:  # noqa: N802 - the name in `threading`
            return SimulatedCondition(scheduler)

    class Time:
        """The parts of `time` that the modules use."""

        sleep = staticmethod(scheduler.sleep)

        @staticmethod
        def monotonic() -> float:
            return scheduler.now

        perf_counter = monotonic

    stand_ins = {
        "threading": Threading,
        "time": Time,
        "SimpleQueue": lambda: SimulatedQueue(scheduler),
        "Lock": lambda: SimulatedLock(scheduler),
    }
    for module in modules:
        for name, stand_in in stand_ins.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, stand_in)
