"""Loops of arithmetic and calls of NumPy's loops, one after the other on strips of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sharedmem.expressions import lowering
from sharedmem.expressions.lowering import Dtype, Emit, Parts
from sharedmem.expressions.numpy_loops import NumpyLoop
from sharedmem.machine import float_flags

# Elements per strip: intermediate results of a strip stay in the nearest cache (benchmark row
# elementwise/exp-128MiB).
STRIP = 2048
# Bytes per cache line, in which memory is written past the caches.
LINE = 64
# Bytes of the widest elements that a loop takes in one step: four registers, or two. A number is
# loaded like as many elements of an array, where it is repeated.
STEP_BYTES = 128

_STRIPS = """
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare ptr @malloc(i64)
declare void @free(ptr)
define i32 @entry(ptr %block) {{
entry:
  %work = alloca [9 x i64]
  %steps = getelementptr i64, ptr %work, i64 4
  %length = getelementptr i64, ptr %work, i64 8
  %size.at = getelementptr i64, ptr %block, i64 8
  %size = load i64, ptr %size.at
  %streams.at = getelementptr i64, ptr %block, i64 9
  %streams = load i64, ptr %streams.at
  %grain.at = getelementptr i64, ptr %block, i64 10
  %grain = load i64, ptr %grain.at
  %noted = getelementptr i64, ptr %block, i64 11
  %addresses = getelementptr i64, ptr %block, i64 12
  %args = alloca [{n_addresses} x ptr]
  call void @llvm.memcpy.p0.p0.i64(ptr %args, ptr %addresses, i64 {nbytes}, i1 false)
  %scratch = call ptr @malloc(i64 {scratch})
  %scratch.at = getelementptr ptr, ptr %args, i64 {scratch_place}
  store ptr %scratch, ptr %scratch.at
  %is.full = icmp eq ptr %scratch, null
  br i1 %is.full, label %refused, label %begin
refused:
  ret i32 1
begin:
  {clear}
  %is.streamed = icmp ne i64 %streams, 0
  br label %claim
claim:
  %first = atomicrmw add ptr %block, i64 %grain seq_cst
  %is.left = icmp slt i64 %first, %size
  br i1 %is.left, label %piece, label %end
piece:
  %rest = sub i64 %size, %first
  %is.short = icmp slt i64 %rest, %grain
  %some = select i1 %is.short, i64 %rest, i64 %grain
  %end.of.piece = add i64 %first, %some
  br label %strip
strip:
  %start = phi i64 [ %first, %piece ], [ %stop, %strip ]
  %left = sub i64 %end.of.piece, %start
  %is.last = icmp sle i64 %left, {strip}
  %n = select i1 %is.last, i64 %left, i64 {strip}
  %whole = and i64 %n, -{width}
  store i64 %n, ptr %length
{stages}
  %cached = select i1 %is.streamed, i64 0, i64 %whole
  %streamed = sub i64 %whole, %cached
  call void @cached(ptr %args, i64 %start, i64 0, i64 %cached)
  call void @streamed(ptr %args, i64 %start, i64 0, i64 %streamed)
  call void @rest(ptr %args, i64 %start, i64 %whole, i64 %n)
  %stop = add i64 %start, {strip}
  br i1 %is.last, label %written, label %strip
written:
  {note}
  fence seq_cst
  br label %claim
end:
  call void @free(ptr %scratch)
  ret i32 0
}}
!0 = !{{i32 1}}
"""


_CLEAR = "%cleared = call i32 inttoptr (i64 {0} to ptr)(i32 {1})"
_NOTE = """%raised = call i32 inttoptr (i64 {0} to ptr)(i32 {1})
  %bits = zext i32 %raised to i64
  %others = atomicrmw or ptr %noted, i64 %bits seq_cst"""


# The places of addresses: of the result, of intermediate results, and of the first operand.
RESULT, SCRATCH, FIRST = range(3)


@dataclass(frozen=True)
class Source:
    """Where elements are: the place of their address among the arguments, or an offset to it."""

    place: int
    dtype: Dtype
    offset: int | None = None
    is_scalar: bool = False

    def start(self, emit: Emit) -> str:
        """Return where the elements of a strip begin."""
        pointer = emit(f"getelementptr ptr, ptr %args, i64 {self.place}")
        pointer = emit(f"load ptr, ptr {pointer}")
        if self.offset is not None:
            return emit(f"getelementptr i8, ptr {pointer}, i64 {self.offset}")
        return pointer if self.is_scalar else self.element(emit, pointer, "%start")

    def element(self, emit: Emit, start: str, index: str) -> str:
        """Return where an element is."""
        return emit(f"getelementptr [{self.dtype.itemsize} x i8], ptr {start}, i64 {index}")


class Room(NamedTuple):
    """The memory that a kernel needs.

    Attributes
    ----------
    n_addresses : int
        How many addresses there are in its block.
    scratch : int
        The bytes of intermediate results, which are a thread's own.
    """

    n_addresses: int
    scratch: int


class Lines:
    """Operations one after the other, whose results have names."""

    def __init__(self, prefix: str) -> None:
        self.lines: list[str] = []
        self._prefix = prefix

    def emit(self, operation: str) -> str:
        """Append an operation, and return the name of its result."""
        name = f"%{self._prefix}{len(self.lines)}"
        self.lines.append(f"{name} = {operation}")
        return name


class Stage:
    """A loop over the elements of a strip, and the calls of NumPy's loops that follow."""

    def __init__(self) -> None:
        self.calls: list[tuple[NumpyLoop, list[Source]]] = []
        self._before, self._body = Lines("b"), Lines("v")
        self._loaded: dict[Source, Parts] = {}
        self.emit = self._body.emit

    def load(self, source: Source) -> Parts:
        """Return the registers that hold what is in memory."""
        if source not in self._loaded:
            address = source.start(self._before.emit)
            emit = self._before.emit if source.is_scalar else self.emit
            if not source.is_scalar:
                address = source.element(emit, address, "%j")
            self._loaded[source] = lowering.load(emit, source.dtype, address)
        return self._loaded[source]

    def store(self, parts: Parts, source: Source) -> str:
        """Return what stores registers, but for the alignment, into the elements of a strip."""
        address = source.element(self.emit, source.start(self._before.emit), "%j")
        return lowering.store(self.emit, source.dtype, parts, address)

    def keep(self, parts: Parts, source: Source) -> None:
        """Store registers for the stages to come."""
        align = lowering.part_of(source.dtype).itemsize
        self._body.lines.append(f"{self.store(parts, source)}, align {align}")

    def function(self, name: str, width: int, ending: str = "") -> str:
        """Return the loop as a function."""
        lines = [
            f"define internal void @{name}(ptr %args, i64 %start, i64 %from, i64 %to) {{",
            "entry:",
            *self._before.lines,
            "%is.some = icmp slt i64 %from, %to",
            "br i1 %is.some, label %loop, label %done",
            "loop:",
            "%j = phi i64 [ %from, %entry ], [ %next, %loop ]",
            *self._body.lines,
            ending,
            "%next = add i64 %j, #",
            "%is.more = icmp slt i64 %next, %to",
            "br i1 %is.more, label %loop, label %done",
            "done:",
            "ret void",
            "}",
        ]
        return lowering.at_width("\n".join(lines), width)

    def value(self, name: str, dtype: Dtype, parts: Parts) -> str:
        """Return the text of functions of any width, for a `kernels.loops.formulas.Formula`.

        Their addresses are those from FIRST.
        """
        form, (value,) = lowering.vector(dtype), parts
        if dtype.kind == "b":
            form, value = "<# x i8>", self.emit(f"zext {form} {value} to <# x i8>")
        lines = [
            f"define linkonce_odr {form} @{name}.#(ptr %addresses, i64 %j) alwaysinline {{",
            f"%args = getelementptr ptr, ptr %addresses, i64 -{FIRST}",
            "%start = add i64 0, 0",
            *self._before.lines,
            *self._body.lines,
            f"ret {form} {value}",
            "}",
        ]
        return "\n".join(lines)


def write_kernel(
    stages: Sequence[Stage], dtype: Dtype, parts: Parts, widest: int, room: Room
) -> str:
    """Return the text of a kernel that goes through all stages for each strip of the arrays.

    The words of its block: how many elements are claimed, on a cache line of its own; from word 8,
    how many elements there are, whether the result is written past the caches, how many elements a
    thread claims at once, and what `float_flags` tells; from word 12, the addresses.

    Parameters
    ----------
    stages : sequence of Stage
        At the end of the last one the result is written.
    dtype : dtype
        Of the result.
    parts : tuple of str
        The registers that hold it.
    widest : int
        Bytes of the widest elements in registers.
    room : Room
        The memory that it needs.
    """
    last = stages[-1]
    written = last.store(parts, Source(RESULT, dtype))
    width = STEP_BYTES // widest
    natural, align = lowering.part_of(dtype).itemsize, min(LINE, width * dtype.itemsize)
    functions = [
        last.function("cached", width, f"{written}, align {natural}"),
        last.function("streamed", width, f"{written}, align {align}, !nontemporal !0"),
        last.function("rest", 1, f"{written}, align {natural}"),
    ]
    main = Lines("m")
    for at, stage in enumerate(stages[:-1]):
        functions += [stage.function(f"stage{at}", width), stage.function(f"rest{at}", 1)]
        main.lines.append(f"call void @stage{at}(ptr %args, i64 %start, i64 0, i64 %whole)")
        main.lines.append(f"call void @rest{at}(ptr %args, i64 %start, i64 %whole, i64 %n)")
        for loop, sources in stage.calls:
            _append_call(main, loop, sources)
    clear = note = ""
    if addresses := float_flags.addresses():
        forms = zip((_CLEAR, _NOTE), addresses, strict=True)
        clear, note = (form.format(address, float_flags.MASK) for form, address in forms)
    strips = _STRIPS.format(
        strip=STRIP,
        width=width,
        stages="\n".join(main.lines),
        clear=clear,
        note=note,
        nbytes=8 * room.n_addresses,
        scratch_place=SCRATCH,
        **room._asdict() | {"scratch": max(room.scratch, 1)},
    )
    return "\n".join([*functions, strips])


def _append_call(main: Lines, loop: NumpyLoop, sources: list[Source]) -> None:
    """Append a call of one of NumPy's loops, which succeeds: only loops with the GIL can fail."""
    for at, source in enumerate(sources):
        address = source.start(main.emit)
        place = main.emit(f"getelementptr ptr, ptr %work, i64 {at}")
        main.lines.append(f"store ptr {address}, ptr {place}")
        place = main.emit(f"getelementptr i64, ptr %steps, i64 {at}")
        step = 0 if source.is_scalar else source.dtype.itemsize
        main.lines.append(f"store i64 {step}, ptr {place}")
    function, context, auxdata = (f"inttoptr (i64 {address} to ptr)" for address in loop[:3])
    arguments = f"ptr {context}, ptr %work, ptr %length, ptr %steps, ptr {auxdata}"
    main.emit(f"call i32 {function}({arguments})")
