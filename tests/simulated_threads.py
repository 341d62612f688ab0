"""Threads that take turns as a seeded random generator decides, on a clock that jumps.

Every thread is a real one, but one alone runs at a time: the scheduler hands the turn on before the
lines of chosen modules and where a thread waits. One seed is one interleaving of all threads, down
to the line, so that a race is found again. A thread that waits for what no other one will ever do
is found at once: nobody can go on, and no time is waited for.
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

# How often the turn is handed on before a line, and how often a thread is stalled there for a
# while, as one is that the operating system does not run: others go on, and time passes. Each
# module has a share of its own, so that one seed is hard on the queue, another one on the rest.
_SWITCH_SHARE = 0.1
_STALL_SHARES = (0.0, 0.01, 0.1)
_STALL_SECONDS = 0.01
_SWITCH_SECONDS = 1e-6
# So often it is handed on in a simulation that has an end; more, and threads go round in a circle.
_MOST_TURNS = 3_000_000


class Stuck(BaseException):
    """Every thread waits for another one; no `except Exception` may hide it."""


class _Turns:
    """A thread, and what it waits for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.baton = threading.Semaphore(0)
        self.condition: Callable[[], object] | None = None
        self.wakes_at: float | None = None
        self.is_stalled = False


class Scheduler:
    """Decides which thread runs.

    Attributes:
        now: Seconds of the clock that jumps.
        errors: What threads have raised, other than the main one.
        before_time_passes: Called when every thread waits and none is stalled, before the clock
            jumps; gives what is wrong about that, or nothing.
    """

    def __init__(self, seed: int, modules: Iterable[ModuleType]) -> None:
        """Prepare.

        Args:
            seed: Of all decisions.
            modules: Before each of their lines the turn may be handed on.
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
        """Begin to hand the turn on in this thread."""
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        """End it; threads that are left stay where they are for ever."""
        sys.settrace(None)

    @property
    def threads(self) -> list[str]:
        """Names of the threads that have not ended, without the main one."""
        return [thread.name for thread in self._threads if thread is not self._main]

    def start(self, name: str, work: Callable[[], object]) -> Callable[[], bool]:
        """Start a thread; gives what tells whether it has ended."""
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
        """Let others run until a condition holds, or for so many seconds of the clock.

        Raises:
            Stuck: in the main thread alone, if nobody can go on.
        """
        me = self._current
        me.condition = condition
        me.wakes_at = None if seconds is None else self.now + max(0.0, seconds)
        self._hand_on(me)

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.wait_until(lambda: False, seconds)

    def step(self, stall_share: float = 0.0) -> None:
        """Perhaps let another thread run, or stall this one."""
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
        """The next thread that can go on, after the clock has jumped if need be."""
        self.now += _SWITCH_SECONDS
        self._turns += 1
        if self._turns > _MOST_TURNS:
            self._stuck = f"threads go round in a circle: {', '.join(self.threads)}"
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
    """Stands for `threading.Thread`."""

    def __init__(
        self, scheduler: Scheduler, *, target: Callable[[], object], name: str, daemon: bool
    ) -> None:
        self.name = name
        self._scheduler, self._target = scheduler, target
        self._has_ended: Callable[[], bool] = lambda: False

    def start(self) -> None:
        """Start it."""
        self._has_ended = self._scheduler.start(self.name, self._target)

    def join(self) -> None:
        """Wait for its end."""
        self._scheduler.wait_until(self._has_ended)


class SimulatedQueue:
    """Stands for `queue.SimpleQueue`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._items: deque[Any] = deque()

    def put(self, item: object) -> None:
        """Add an item."""
        self._items.append(item)

    def get(self) -> Any:
        """Wait for an item."""
        if not self._items:
            self._scheduler.wait_until(lambda: self._items)
        return self._items.popleft()


class SimulatedCondition:
    """Stands for `threading.Condition`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._is_held = False
        self._notified = 0

    def __enter__(self) -> Self:
        if self._is_held:
            self._scheduler.wait_until(lambda: not self._is_held)
        self._is_held = True
        return self

    def __exit__(self, *_: object) -> None:
        self._is_held = False

    def notify_all(self) -> None:
        """Wake all that wait."""
        self._notified += 1

    def wait_for(self, predicate: Callable[[], object]) -> None:
        """Wait until it is notified and a condition holds."""
        while not predicate():
            seen = self._notified
            self.__exit__()
            self._scheduler.wait_until(lambda seen=seen: self._notified > seen)
            self.__enter__()


class _Selector(selectors.SelectSelector):
    """Where a real one would sleep, other threads run."""

    scheduler: Scheduler
    is_woken = False

    def select(self, timeout: float | None = None) -> list[Any]:
        """Wait until another thread wakes the loop, or for so long."""
        if timeout is None or timeout > 0:
            self.scheduler.wait_until(lambda: self.is_woken, timeout)
        else:
            self.scheduler.step()
        self.is_woken = False
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop of the scheduler's main thread, with its clock and its threads."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._clock = scheduler
        self._wakeful = _Selector()
        self._wakeful.scheduler = scheduler
        super().__init__(self._wakeful)

    def time(self) -> float:
        """Seconds of the scheduler's clock."""
        return self._clock.now

    def _write_to_self(self) -> None:
        self._wakeful.is_woken = True

    def run_in_executor(  # type: ignore[override]  # the default executor alone
        self, executor: None, func: Callable[..., Any], *arguments: object
    ) -> "asyncio.Future[Any]":
        """Run a function in a thread of its own."""
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
            except BaseException as raised:  # noqa: BLE001 - for whoever waits
                result, error = None, raised
            self.call_soon_threadsafe(settle, result, error)

        self._clock.start("executor", work)
        return future


def install(
    scheduler: Scheduler, modules: Iterable[ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have modules use the scheduler's threads, queues and clock in place of real ones."""

    class Threading:
        """What these modules use of `threading`."""

        @staticmethod
        def Thread(**settings: Any) -> SimulatedThread:  # noqa: N802 - the name that it stands for
            return SimulatedThread(scheduler, **settings)

        @staticmethod
        def Condition() -> SimulatedCondition:  # noqa: N802 - likewise
            return SimulatedCondition(scheduler)

    class Time:
        """What these modules use of `time`."""

        sleep = staticmethod(scheduler.sleep)

        @staticmethod
        def monotonic() -> float:
            return scheduler.now

        perf_counter = monotonic

    stand_ins = {
        "threading": Threading,
        "time": Time,
        "SimpleQueue": lambda: SimulatedQueue(scheduler),
    }
    for module in modules:
        for name, stand_in in stand_ins.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, stand_in)
