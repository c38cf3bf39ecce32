"""Products of bfloat16 pairs: rounding, every edge, the same bytes, and how far from float64."""

import dataclasses

import numba
import numpy as np
import pytest
from numba import types
from numba.extending import intrinsic
from oracles.naive import round_to_bfloat16
from oracles.problem import Problem

from fastmlp._engine.compat.numba import cpu_target
from fastmlp._engine.jit.target import target
from fastmlp._engine.network import round_up
from fastmlp._engine.simd import bfloat16
from fastmlp._engine.simd.bfloat16 import PAIR, pack_pairs, pack_row
from fastmlp._engine.simd.denormals import flush_denormals, restore_denormals
from fastmlp._engine.simd.memory import address_of
from fastmlp._engine.simd.vectors import lanes_of
from fastmlp._training import sgd

UNIT = 2.0**-8  # of bfloat16, relative
# Arm's instruction rounds to odd.
HAS_INSTRUCTION = (
    target().vector_bytes == 64
    and "+avx512bf16" in cpu_target.target_context.codegen().magic_tuple()[2]
)


@numba.njit
def pack(first, second, rounded, pairs):
    like = np.float32(0)
    pack_row(like, address_of(first, 0), address_of(rounded, 0), first.size)
    second_at = address_of(second, 0) if second.size else 0
    pack_pairs(like, address_of(first, 0), second_at, address_of(pairs, 0), first.size)


def as_floats(halves):
    return (halves.astype(np.uint32) << 16).view(np.float32)


def packed(first, second):
    """What the kernels' code writes: bfloat16 of the first numbers, and pairs; as float32."""
    size = round_up(first.size, target().lanes(np.float32))
    rounded, pairs = np.full(size + 1, 7, np.uint16), np.full(size + 1, 7, np.uint32)
    pack(first, second, rounded, pairs)
    assert rounded[-1] == pairs[-1] == 7
    assert not rounded[first.size : -1].any() and not pairs[first.size : -1].any()
    pairs = pairs[: first.size]
    return as_floats(rounded[: first.size]), as_floats(pairs & 0xFFFF), as_floats(pairs >> 16)


def of_kernels(numbers):
    """float32 numbers, rounded by the kernels' code, which pairs them as well."""
    rounded, first, second = packed(numbers, numbers[::-1].copy())
    np.testing.assert_array_equal(first, rounded)
    np.testing.assert_array_equal(second[::-1], rounded)
    return rounded


@pytest.mark.parametrize("count", range(1, 40))
def test_rows_of_any_length_are_packed(count):
    whole = np.random.default_rng(count).standard_normal((3, count + 1)).astype(np.float32)
    whole[:, -1] = np.nan  # not to be read
    first, second = whole[0, :-1], whole[1, :-1]
    for other in (second, second[:0]):
        expected = first, first, other if other.size else np.zeros(count)
        for got, exact in zip(packed(first, other), expected, strict=True):
            np.testing.assert_array_equal(got, round_to_bfloat16(exact))


def test_numbers_round_to_the_nearest_bfloat16_and_ties_to_even():
    rng = np.random.default_rng(0)
    numbers = as_floats(rng.integers(0x0080, 0x7F00, 2000))  # normal bfloat16 numbers
    between = numbers * np.float32(1 + UNIT / 2)
    near = [np.nextafter(between, np.float32(sign * np.inf)) for sign in (-1, 1)]
    others = rng.standard_normal(2000).astype(np.float32)
    numbers = np.concatenate([numbers, between, *near, others, [0.0]]).astype(np.float32)
    for each in (numbers, -numbers):
        np.testing.assert_array_equal(of_kernels(each), round_to_bfloat16(each))


def test_what_is_not_finite_stays_so():
    quiet, loud = np.array([0x7FFFFFFF, 0x7F800001], np.uint32).view(np.float32)
    numbers = np.array([np.inf, -np.inf, quiet, loud, np.finfo(np.float32).max], np.float32)
    got = of_kernels(numbers)
    np.testing.assert_array_equal(got[:2], numbers[:2])
    assert np.isnan(got[2:4]).all() and got[4] == np.inf


@intrinsic
def dot_products(typingctx, a, b, sums):
    """sums[i] += the dot product of the pairs a[i] and b[i], for one vector at these addresses."""

    def codegen(context, builder, signature, arguments):
        vectors = bfloat16.PairVectors(builder, context, PAIR)
        a, b, sums = arguments
        total = vectors.multiply_add(vectors.load(a), vectors.load(b), vectors.sums.load(sums))
        vectors.sums.store(total, sums)
        return context.get_dummy_value()

    return types.void(a, b, sums), codegen


def added(a, b, sums, instruction):
    """The sums plus the dot products of pairs, as training computes them: by which instruction?"""

    @numba.njit
    def add(a, b, sums):
        before = flush_denormals()
        for first in range(0, a.size, lanes_of(np.float32(0))):
            dot_products(address_of(a, first), address_of(b, first), address_of(sums, first))
        restore_denormals(before)

    result = sums.copy()
    add(a, b, result)
    (assembly,) = add.inspect_asm().values()
    assert ("dpbf16" in assembly) == instruction
    return result


@pytest.mark.skipif(not HAS_INSTRUCTION, reason="the processor has no dot products of x86")
def test_the_instruction_has_the_bits_of_the_emulation(monkeypatch):
    rng, count = np.random.default_rng(0), 1 << 16
    bits = rng.integers(0, 1 << 32, (3, count), dtype=np.uint32)  # of anything: denormals, NaN
    numbers = rng.standard_normal((3, count, 2)).astype(np.float32)
    pairs = (numbers.view(np.uint32) >> 16) @ np.array([1, 1 << 16], np.uint32)
    with_it, without = (dataclasses.replace(target(), has_bfloat16=has) for has in (True, False))
    for a, b, sums in (bits, [*pairs[:2], numbers[2, :, 0].view(np.uint32)]):
        monkeypatch.setattr(bfloat16, "target", lambda: with_it)
        ours = added(a, b, sums.view(np.float32), instruction=True)
        monkeypatch.setattr(bfloat16, "target", lambda: without)
        emulated = added(a, b, sums.view(np.float32), instruction=False)
        is_number = ~np.isnan(emulated)
        assert is_number.any()
        np.testing.assert_array_equal(np.isnan(ours), ~is_number)
        np.testing.assert_array_equal(
            *(each.view(np.uint32)[is_number] for each in (ours, emulated))
        )


def problem_of(sizes, rows, **options):
    return Problem(sizes, rows, np.float32, pairs=True, **options)


def assert_near(got, expected, share):
    """Errors are at most a share of the largest element."""
    for one, other in zip(got, expected, strict=True):
        assert np.abs(one - other).max() <= share * np.abs(other).max()


# A rounding of the last activation or delta can go the other way than the oracle's.
FLIPS = 2e-4
SIZES = [
    [1, 1], [2, 1], [3, 2], [5, 3, 4], [9, 21, 18, 4], [64, 32, 16], [63, 33, 17, 3],
    [300, 50, 12], [17, 512, 5], [70, 66, 65, 2], [130, 7, 129, 1],
]  # fmt: skip


@pytest.mark.parametrize("rows", [1, 2, 7, 16, 33])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_gradients_are_those_of_rounded_operands(sizes, rows):
    problem = problem_of(sizes, rows, alpha=0.3)
    if rows > 4:
        problem.weigh()
    oracle = problem.oracle(rounding=round_to_bfloat16)
    expected = oracle.gradients(problem.X, problem.y, problem.weights)
    plain = problem.oracle().gradients(problem.X, problem.y, problem.weights)
    got = problem.gradients()
    for ours, theirs, unrounded in zip(got, expected, plain, strict=True):
        assert_near(ours, theirs, FLIPS)
        assert any(
            np.abs(a - b).max() > 2 * FLIPS * np.abs(b).max()
            for a, b in zip(theirs, unrounded, strict=True)
        )  # the oracle would tell


@pytest.mark.parametrize("block", [3, 4, 1024])
def test_gradients_of_several_blocks_add_up(block, monkeypatch):
    monkeypatch.setattr(sgd, "BLOCK_ROWS", block)
    monkeypatch.setattr(sgd, "LEAST_BLOCK_ROWS", block)
    problem = problem_of([9, 21, 18, 4], 47)
    expected = problem.oracle(rounding=round_to_bfloat16).gradients(problem.X, problem.y)
    for ours, theirs in zip(problem.gradients(), expected, strict=True):
        assert_near(ours, theirs, FLIPS)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_predictions_are_those_of_rounded_operands(sizes):
    problem = problem_of(sizes, 37)
    expected = problem.oracle(rounding=round_to_bfloat16).predict(problem.X)
    np.testing.assert_allclose(problem.predict(), expected, rtol=FLIPS)
    unrounded = problem.oracle().predict(problem.X)
    assert np.abs(unrounded / expected - 1).max() > FLIPS  # the oracle would tell


@pytest.mark.parametrize("units", [40, 66])  # the last columns of 66 are a tail
@pytest.mark.parametrize("rows", [1, 2, 5, 16, 129])
def test_a_row_has_the_same_bytes_in_any_company(rows, units):
    problem = problem_of([71, units, 7], 300)
    together = problem.predict()
    for first in range(0, 300 - rows, 37):
        alone = problem.predict(problem.X[first : first + rows])
        np.testing.assert_array_equal(alone, together[first : first + rows])
    for threads in (2, 3):
        np.testing.assert_array_equal(problem.predict(n_jobs=threads), together)


@pytest.mark.parametrize("units", [40, 66])
@pytest.mark.parametrize("batch", [1, 7, 32, 300])
def test_bytes_do_not_depend_on_the_number_of_threads(batch, units, monkeypatch):
    monkeypatch.setattr(sgd, "FLOPS_PER_THREAD", 1)
    monkeypatch.setattr(sgd, "FLOPS_PER_THREAD_OF_FIT", 1)
    trained = []
    for threads in (1, 2, 3):
        problem = problem_of([71, units, 21, 7], 300, alpha=0.1)
        losses, _ = problem.train(epochs=2, batch_size=batch, n_jobs=threads)
        trained.append((losses, problem.network.parameters))
    for losses, parameters in trained[1:]:
        assert losses == trained[0][0]
        np.testing.assert_array_equal(parameters, trained[0][1])


@pytest.mark.parametrize("units", [41, 66])
def test_the_padding_of_a_trained_network_is_zero(units):
    problem = problem_of([71, units, 21, 7], 60)
    problem.train(epochs=3, batch_size=7)
    for array in problem.network.arrays():
        assert np.abs(array).max() > 0
        array[...] = 0
    assert not problem.network.parameters.any()


def test_sparse_rows_are_refused():
    problem = problem_of([5, 4, 3], 10).compressed()
    with pytest.raises(ValueError, match="dense X only"):
        problem.predict()
