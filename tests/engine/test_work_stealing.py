"""Phases, ranges, claims and the count of what is done."""

import random

import numpy as np
import pytest

from fastmlp._engine.threading.work_stealing import (
    Phase,
    claim,
    complete,
    is_done,
    next_items,
    work_words,
)


def make_phase(number=0, items=64, threads=3, grain=1, ranges=0, target=None):
    return Phase(number, items, items if target is None else target, threads, ranges, grain)


def claim_all(work, owner, phase):
    claims = []
    while True:
        first, end = claim(work, owner, phase)
        if first == end:
            return claims
        claims.append((first, end))


def test_claims_halve_the_own_range_in_multiples_of_the_grain():
    work = work_words(2)
    assert claim_all(work, 0, make_phase(threads=2, items=200, grain=8)) == [
        (0, 56), (56, 80), (80, 100),
    ]  # fmt: skip
    assert claim_all(work, 1, make_phase(threads=2, items=200, grain=8))[0] == (100, 156)


def test_a_single_thread_claims_a_phase_at_once():
    assert claim_all(work_words(1), 0, make_phase(threads=1, items=500)) == [(0, 500)]


def test_a_thread_left_behind_in_an_old_phase_finds_nothing_there():
    work = work_words(2)
    assert claim_all(work, 0, make_phase(number=1, threads=2))
    assert claim(work, 0, make_phase(number=0, threads=2)) == (0, 0)
    assert claim(work, 0, make_phase(number=1, threads=2)) == (0, 0)
    assert claim(work, 0, make_phase(number=2, threads=2)) != (0, 0)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("items, grain", [(1, 1), (5, 1), (64, 16), (203, 8)])
def test_claims_in_any_order_are_a_partition_of_the_items(threads, items, grain):
    for seed in range(20):
        work, claimed, rng = work_words(threads), [], random.Random(seed)
        phase, owners = make_phase(threads=threads, items=items, grain=grain), list(range(threads))
        while owners:
            owner = rng.choice(owners)
            first, end = claim(work, owner, phase)
            claimed += range(first, end)
            if first == end:
                owners.remove(owner)
        assert sorted(claimed) == list(range(items))


@pytest.mark.parametrize(
    "ranges", [[0, 40, 40, 40], [0, 0, 0, 40], [0, 0, 39, 40], [0, 13, 27, 40]]
)
def test_given_ranges_are_those_claimed(ranges):
    table, work = np.array(ranges), work_words(3)
    phase = make_phase(items=40, ranges=table.ctypes.data)
    for owner in range(3):
        claimed = [item for pair in claim_all(work, owner, phase) for item in range(*pair)]
        assert claimed == list(range(ranges[owner], ranges[owner + 1]))


def test_the_own_range_comes_first_and_then_those_of_the_next_threads():
    work, phase = work_words(3), make_phase(items=3)
    assert [next_items(work, 1, phase)[0] for _ in range(3)] == [1, 2, 0]


def test_a_phase_is_done_when_its_items_are():
    work, phase = work_words(2), make_phase(items=2, threads=2)
    for done in (1, 2):
        assert not is_done(work, phase.done_target)
        assert next_items(work, 0, phase) != (0, 0)
        assert complete(work, 1) == done
    assert is_done(work, phase.done_target)
    assert next_items(work, 0, phase) == (0, 0)  # and does not wait
