"""Changes of a few models in all workers, which this process plays."""

import asyncio
from pathlib import Path

import pytest

from serving.errors import Unavailable, UnknownError
from serving.repository.model_config import ModelConfig, to_json
from serving.workers.reloads import Reloads


class Worker:
    """A worker that records what it is asked, and may refuse a step."""

    def __init__(self, number: int = 1, *, refuses: str = "", ready: bool = True) -> None:
        self.number = number
        self.ready = ready
        self.asked: list[tuple[str, object]] = []
        self.signals: list[int] = []
        self._refuses = refuses

    async def ask(self, what: str, content: object = None) -> None:
        """Record a question, and let others run before the answer."""
        self.asked.append((what, content))
        await asyncio.sleep(0)
        if what == self._refuses:
            raise UnknownError(what)

    def signal(self, number: int) -> None:
        """Record a signal."""
        self.signals.append(number)


def config(name: str) -> ModelConfig:
    return ModelConfig(name=name, base_path=Path("/models") / name, complete=True)


def models(*names: str) -> list[object]:
    return to_json({name: config(name) for name in names})


def change(*names: str, without: tuple[str, ...] = ()) -> dict[str, object]:
    return {"models": models(*names), "without": list(without)}


def test_a_change_is_prepared_and_committed_by_all():
    """All workers get the whole set after the change, and so does a worker that starts later."""
    workers = [Worker(1), Worker(2)]

    async def scenario():
        reloads = Reloads(workers)
        await reloads.settle(models("a", "b"))
        await reloads.change(change("c", without=("a",)))
        return await reloads.tell()

    after = models("b", "c")
    assert asyncio.run(scenario()) == after
    assert [worker.asked for worker in workers] == [[("prepare", after), ("commit", None)]] * 2


def test_changes_of_several_workers_add_up():
    """Changes that arrive together are applied one after another."""

    async def scenario():
        reloads = Reloads([Worker()])
        await asyncio.gather(*(reloads.change(change(name)) for name in "abc"))
        return [entry["name"] for entry in reloads.models]

    assert asyncio.run(scenario()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("second", "error", "steps"),
    [
        (Worker(2, refuses="prepare"), UnknownError, ["prepare", "abort"]),
        (Worker(2, ready=False), Unavailable, []),
    ],
)
def test_a_change_that_one_worker_refuses_changes_nothing(second, error, steps):
    """If a worker cannot load the models or is being started, the set stays as it was."""
    first = Worker(1)

    async def scenario():
        reloads = Reloads([first, second])
        reloads.models = models("a")
        with pytest.raises(error):
            await reloads.change(change("b"))
        return reloads.models

    assert asyncio.run(scenario()) == models("a")
    assert [what for what, _ in first.asked] == steps


def test_the_first_proposal_settles_the_models_of_the_start():
    """All workers begin with the models that the first of them has found."""

    async def scenario():
        reloads = Reloads([])
        return [await reloads.settle(models(name)) for name in ("a", "b")]

    assert asyncio.run(scenario()) == [models("a")] * 2
