import time
from collections.abc import Callable

import gevent
import numpy as np

from loadtest.client import Outcome
from loadtest.images import Query
from loadtest.recorder import Recorder
from loadtest.scenarios import GIVE_UP_AFTER_FAILURES, ClosedLoop

IMAGES = 24


def queries(batch: int = 1) -> list[Query]:
    return [
        Query(payload=b"", image_ids=np.arange(start, min(start + batch, IMAGES)))
        for start in range(0, IMAGES, batch)
    ]


def right(query: Query) -> Outcome:
    return Outcome(
        sent_ns=time.perf_counter_ns(), latency_ns=1, classes=np.zeros(len(query.image_ids), int)
    )


def unreachable(_query: Query) -> Outcome:
    return Outcome(
        sent_ns=time.perf_counter_ns(), latency_ns=1, error="UNAVAILABLE", message="refused"
    )


def scenario(users: int | None, **settings: object) -> ClosedLoop:
    return ClosedLoop(queries(), Recorder(np.zeros(IMAGES, int)), users=users, **settings)


def user(loop: ClosedLoop, send: Callable[[Query], Outcome] = right) -> None:
    """What a Locust user does, the network replaced by giving way to the others."""
    for query in loop.warm_up():
        gevent.sleep(0)
        loop.warmed_up(send(query))
    loop.wait_for_start()
    while (query := loop.next_query()) is not None:
        gevent.sleep(0)
        loop.done(query, send(query))


def run(loop: ClosedLoop, users: int, send: Callable[[Query], Outcome] = right) -> None:
    greenlets = [gevent.spawn(user, loop, send) for _ in range(users)]
    gevent.joinall(greenlets, timeout=30, raise_error=True)
    assert all(greenlet.dead for greenlet in greenlets)


def test_one_pass_hands_out_every_image_exactly_once_over_all_users():
    """Five users that take turns share the images: none is missing, none sent twice."""
    loop = scenario(5, requests=IMAGES, warmup_requests=7)

    run(loop, 5)

    assert sorted(loop.recorder.image_ids) == list(range(IMAGES))
    assert loop.started == IMAGES
    assert loop.stop_reason is None


def test_warm_up_requests_are_counted_and_not_recorded():
    """Seven over three users are three each, so that no user does less than asked for."""
    loop = scenario(3, requests=IMAGES, warmup_requests=7)

    run(loop, 3)

    assert (loop.warmup_sent, loop.warmup_failed) == (9, 0)
    assert loop.recorder.finished == IMAGES


def test_every_user_warms_up_at_least_once():
    """The request that opens a connection is never timed, even if no warm-up is asked for."""
    loop = scenario(3, requests=IMAGES, warmup_requests=0)

    run(loop, 3)

    assert loop.warmup_sent == 3


def test_nobody_sends_a_timed_request_before_every_user_is_ready():
    """With one user of two missing, the other waits."""
    loop = scenario(2, requests=IMAGES)
    first = gevent.spawn(user, loop)
    gevent.sleep(0.05)

    started_alone = loop.started
    gevent.joinall([first, gevent.spawn(user, loop)], timeout=30, raise_error=True)

    assert started_alone == 0
    assert loop.started == IMAGES


def test_more_requests_than_images_go_round_again():
    """60 requests over 24 images: 12 images are sent three times, 12 twice."""
    loop = scenario(4, requests=60)

    run(loop, 4)

    _, counts = np.unique(loop.recorder.image_ids, return_counts=True)
    assert sorted(counts) == [2] * 12 + [3] * 12


def test_a_duration_ends_the_run():
    """Nothing is handed out after the time is over."""
    loop = scenario(2, duration_seconds=0.05)

    run(loop, 2)

    assert loop.finished.is_set()
    assert loop.stop_reason is None
    assert loop.next_query() is None


def test_a_server_that_is_gone_is_given_up():
    """100 failures to reach it in a row end the run, with the last one's words."""
    loop = scenario(4, duration_seconds=60)

    run(loop, 4, unreachable)

    assert loop.recorder.finished >= GIVE_UP_AFTER_FAILURES
    assert loop.recorder.finished < GIVE_UP_AFTER_FAILURES + 4
    assert "did not reach the server" in loop.stop_reason
    assert loop.stop_reason.endswith("UNAVAILABLE: refused")


def test_the_first_reason_to_stop_is_kept():
    """What is said after the end of a run does not change why it ended."""
    loop = scenario(1)
    loop.stop("first")
    loop.stop("second")

    assert loop.stop_reason == "first"


def test_a_reset_counts_afresh_without_the_answers_still_under_way():
    """An answer to a request from before a reset belongs to neither count."""
    loop = scenario(None)
    before = loop.next_query()
    outcome = right(before)
    loop.reset(Recorder(np.zeros(IMAGES, int)))
    loop.done(before, outcome)
    after = loop.next_query()
    loop.done(after, right(after))

    assert loop.recorder.image_ids.tolist() == [1]


def test_in_the_web_ui_nobody_waits_and_nobody_gives_up():
    """Users come and go there, and a person decides when it is over."""
    loop = scenario(None)
    loop.wait_for_start()
    for _ in range(2 * GIVE_UP_AFTER_FAILURES):
        query = loop.next_query()
        loop.done(query, unreachable(query))

    assert not loop.finished.is_set()
    assert loop.next_query() is not None
