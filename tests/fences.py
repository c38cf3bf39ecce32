"""Fences: memory in which a read or write one element outside an array kills the process.

Within `fenced`, every array that a kernel gets the address of has pages of its own: those that the
engine allocates, each of those that share a buffer, X, targets, sample weights, the order, the
arrays of a sparse X, and the predictions. The array ends where a page without access begins, or it
begins where one ends. Kernels need no more than the alignment of their elements, so it touches that
page exactly. Bytes on its other side are checked for writes after each launch.

Prefetches miss unharmed. For Linux and macOS.
"""

import contextlib
import ctypes
import mmap
import weakref
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from fastmlp._engine import buffers
from fastmlp._engine.buffers import Layout
from fastmlp._engine.workspace import Workspace

PAGE = mmap.PAGESIZE
CANARY = 0x3F  # in every byte, it is a number: 0.75 in float32, 0.0005 in float64
NO_ACCESS, READ_ONLY, READ_WRITE = 0, mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE

Side = Literal["begin", "end"]  # of an array: where it touches a page without access

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
_libc.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
_CANARIES = bytes([CANARY]) * PAGE


class Chunk(NamedTuple):
    """An array in a region: its first byte there, and its size in bytes."""

    first: int
    size: int


def pages_of(size: int) -> int:
    """Bytes of the pages that `size` bytes fill, at least one."""
    return max(-(-size // PAGE), 1) * PAGE


def chunk_at(page: int, size: int, side: Side) -> Chunk:
    """The chunk of `size` bytes whose pages begin at byte `page`."""
    return Chunk(page if side == "begin" else page + pages_of(size) - size, size)


def protect(address: int, size: int, access: int) -> None:
    """Set the access to whole pages."""
    if _libc.mprotect(address, size, access):
        raise OSError(ctypes.get_errno(), "mprotect")


class Region:
    """Pages with chunks of zeros. The pages before and after them have no access.

    It exists while an array in it does. All other bytes are CANARY.

    Parameters
    ----------
    size : int
        Bytes: whole pages.
    chunks : list of Chunk
        In increasing order.
    """

    def __init__(self, size: int, chunks: list[Chunk]):
        total = PAGE + size + PAGE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        start = _libc.mmap(None, total, READ_WRITE, flags, -1, 0)
        if start == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "mmap")
        weakref.finalize(self, _libc.munmap, start, total).atexit = False
        protect(start, PAGE, NO_ACCESS)
        protect(start + PAGE + size, PAGE, NO_ACCESS)
        self.address, self.size, self.chunks = start + PAGE, size, chunks
        self._find_gaps()
        for first, count in self._slack:
            _libc.memset(self.address + first, CANARY, count)

    def _find_gaps(self) -> None:
        """Divide what lies between the chunks into whole pages and the rest."""
        self._fences, self._slack, at = [], [], 0
        for first, size in [*self.chunks, (self.size, 0)]:
            page, end_page = -(-at // PAGE) * PAGE, first // PAGE * PAGE
            if page < end_page:
                self._fences.append(Chunk(page, end_page - page))
                self._slack += [Chunk(at, page - at), Chunk(end_page, first - end_page)]
            else:
                self._slack.append(Chunk(at, first - at))
            at = first + size

    def buffer(self) -> np.ndarray:
        """All bytes, as an array that keeps the region."""
        memory = (ctypes.c_ubyte * self.size).from_address(self.address)
        memory.region = self
        return np.frombuffer(memory, np.uint8)

    def array(self, dtype) -> np.ndarray:
        """The only chunk, as an array that keeps the region."""
        ((first, size),) = self.chunks
        return self.buffer()[first : first + size].view(dtype)

    def set_fences(self, access: int) -> None:
        """Set the access to whole pages between the chunks. Between launches it is READ_WRITE."""
        for first, size in self._fences:
            protect(self.address + first, size, access)

    def make_read_only(self) -> None:
        """Let nobody change the chunks, nor touch the pages between them, from now on."""
        protect(self.address, self.size, READ_ONLY)
        self.set_fences(NO_ACCESS)
        self._fences = []

    def check(self) -> None:
        """Check that nobody has written beside the chunks."""
        for gap in self._slack:
            if _libc.memcmp(self.address + gap.first, _CANARIES, gap.size):
                raise AssertionError(f"a write to {gap}, which is beside {self.chunks}")


class Fences:
    """Gives the kernels memory in regions.

    Parameters
    ----------
    side : Side
    rows_apart : bool
        Whether each row of a dense X is a chunk.

    Attributes
    ----------
    launches : int
        How many had all arrays fenced.
    planted : callable or None
        Spoils a workspace right before each launch.
    """

    def __init__(self, side: Side, rows_apart: bool = False):
        self.side, self.rows_apart, self.launches, self.planted = side, rows_apart, 0, None
        self._regions: weakref.WeakSet[Region] = weakref.WeakSet()
        # What the kernels read instead of an array that they do not change.
        self._inputs: weakref.WeakKeyDictionary[Workspace, dict] = weakref.WeakKeyDictionary()

    def region(self, size: int, chunks: list[Chunk]) -> Region:
        """A region that is fenced during launches."""
        region = Region(size, chunks)
        self._regions.add(region)
        return region

    def aligned_empty(self, count: int, dtype, make=None) -> np.ndarray:
        """Stands for `buffers.aligned_empty`."""
        size = count * np.dtype(dtype).itemsize
        return self.region(pages_of(size), [chunk_at(0, size, self.side)]).array(dtype)

    def place(self, layout: Layout, count: int) -> int:
        """Stands for `Layout.place`: keeps a page between two arrays."""
        item = layout.dtype.itemsize
        chunk = chunk_at(layout.size * item, count * item, self.side)
        vars(layout).setdefault("chunks", []).append(chunk)
        layout.size += (pages_of(count * item) + PAGE) // item
        return chunk.first // item

    def zeros(self, layout: Layout, copies: int = 1) -> np.ndarray:
        """Stands for `Layout.zeros` and `Layout.empty`."""
        size, chunks = layout.size * layout.dtype.itemsize, vars(layout).get("chunks", [])
        of_copies = [Chunk(copy * size + at, n) for copy in range(copies) for at, n in chunks]
        return self.region(copies * size, of_copies).buffer().view(layout.dtype)

    def copy_of(self, array: np.ndarray, rows_apart: bool = False) -> np.ndarray:
        """A copy of an array, with the same strides or with each row in a chunk."""
        item = array.itemsize
        if not array.size:
            return self.aligned_empty(0, array.dtype).reshape(array.shape)
        if rows_apart:
            row = array.shape[1] * item
            step = pages_of(row) + PAGE
            chunks = [chunk_at(n * step, row, self.side) for n in range(len(array))]
            region, first, strides = self.region(step * len(array), chunks), 0, (step, item)
        else:
            low, high = np.lib.array_utils.byte_bounds(array)
            chunks = [chunk_at(0, high - low, self.side)]
            region, strides = self.region(pages_of(high - low), chunks), array.strides
            first = array.ctypes.data - low
        copy = np.ndarray(
            array.shape, array.dtype, region.buffer(), region.chunks[0].first + first, strides
        )
        copy[...] = array
        region.make_read_only()
        return copy

    def _input(self, workspace: Workspace, name: str, array: np.ndarray, **how) -> np.ndarray:
        """The copy that the kernels read; made once, except of an order, which is shuffled."""
        known = self._inputs.setdefault(workspace, {})
        if name == "order" or name not in known or known[name][0] is not array:
            known[name] = array, self.copy_of(array, **how)
        return known[name][1]

    @contextlib.contextmanager
    def _inputs_fenced(self, workspace: Workspace) -> Iterator[None]:
        """Let the kernels read copies of their inputs, and write to predictions of ours."""
        inputs, forward = workspace.inputs, workspace.job["forward"]
        before, outputs = inputs.copy(), workspace._outputs
        try:
            if not inputs["is_sparse"]:
                X = self._input(workspace, "X", workspace._X, rows_apart=self.rows_apart)
                inputs["x"], inputs["x_stride"] = X.ctypes.data, X.strides[0]
            for name, array in workspace._held.get("inputs", {}).items():
                if array is not None:
                    inputs[name] = self._input(workspace, name, array).ctypes.data
            if outputs is not None:
                ours = self.aligned_empty(outputs.size, outputs.dtype).reshape(outputs.shape)
                forward["outputs"] = ours.ctypes.data
            yield
            if outputs is not None:
                outputs[...] = ours
        finally:
            for name in inputs.dtype.names:
                inputs[name] = before[name]
            forward["outputs"] = 0 if outputs is None else outputs.ctypes.data

    def is_guarded(self, address: int) -> bool:
        """Whether an address is in a page without access, or one that nobody may write to."""
        for region in self._regions:
            if -PAGE <= address - region.address < region.size + PAGE:
                return not any(
                    0 <= address - region.address - first < size for first, size in region.chunks
                )
        return False

    def run(self, launch, workspace: Workspace, kernel, **options) -> int:
        """Stands for `Workspace.run`, which is `launch`."""
        with self._inputs_fenced(workspace):
            if self.planted is not None:
                self.planted(workspace)
            regions = list(self._regions)
            for region in regions:
                region.set_fences(NO_ACCESS)
            try:
                return launch(workspace, kernel, **options)
            finally:
                self.launches += 1
                for region in regions:
                    region.set_fences(READ_WRITE)
                    region.check()


@contextlib.contextmanager
def fenced(side: Side, rows_apart: bool = False) -> Iterator[Fences]:
    """Fence all memory of the kernels that is allocated inside, in every launch inside."""
    fences, launch = Fences(side, rows_apart), Workspace.run
    stand_ins = {
        (buffers, "aligned_empty"): fences.aligned_empty,
        (Layout, "place"): lambda layout, count: fences.place(layout, count),
        (Layout, "empty"): lambda layout: fences.zeros(layout),
        (Layout, "zeros"): lambda layout, copies=1: fences.zeros(layout, copies),
        (Workspace, "run"): lambda *arguments, **options: fences.run(launch, *arguments, **options),
    }
    before = {key: getattr(*key) for key in stand_ins}
    try:
        for (owner, name), stand_in in stand_ins.items():
            setattr(owner, name, stand_in)
        yield fences
    finally:
        for (owner, name), function in before.items():
            setattr(owner, name, function)


def fence_pool() -> None:
    """Let the words of the pool end at a page without access, before it has threads."""
    from fastmlp._engine.threading.pool import pool

    with fenced("end"):
        pool.reset()


def fenced_mapping(array: np.ndarray, path, side: Side, last_row: int) -> np.ndarray:
    """A matrix in a memory-mapped file, between pages without access.

    `last_row` bytes of the file can be read from its last row on.
    """
    readable = array.nbytes - array.strides[0] + last_row
    size = pages_of(readable)
    first = PAGE + chunk_at(0, readable, side).first
    with open(path, "wb+") as file:
        file.truncate(PAGE + size + PAGE)
        file.seek(first)
        file.write(array.tobytes())
        file.flush()
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    matrix = np.ndarray(array.shape, array.dtype, mapping, first)
    start = matrix.ctypes.data - first
    protect(start, PAGE, NO_ACCESS)
    protect(start + PAGE + size, PAGE, NO_ACCESS)
    return matrix
