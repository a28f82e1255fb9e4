"""Kernels in LLVM's language, written nearly as in Python: loops, functions, and blocks.

What is written in Python runs once, when a kernel is made: it emits the instructions.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from sharedmem.kernels.loops.integers import Flag, Int
from sharedmem.kernels.loops.memory import BYTE, DOUBLE, WORD, Kind, Numbers, Table
from sharedmem.kernels.loops.vectors import Vector

_INT, _POINTER, _STATUS = ir.IntType(64), ir.PointerType(), ir.IntType(32)
# Memory is allocated from the start of a cache line.
CACHE_LINE = 64


class Variable:
    """A number that changes."""

    def __init__(self, emitter: Emitter, start: Any) -> None:
        self._like = start
        self._builder = emitter.builder
        with self._builder.goto_entry_block():
            self._place = self._builder.alloca(start.value.type)
        self.set(start)

    def get(self) -> Any:
        """Return the number as it is now."""
        value = self._builder.load(self._place, typ=self._like.value.type)
        if isinstance(self._like, Vector):
            return self._like.like(value)
        return type(self._like)(self._builder, value)

    def set(self, number: Any) -> None:
        """Replace the number."""
        self._builder.store(number.value, self._place)


class Repetition:
    """A loop that is left from within."""

    def __init__(self, builder: Any, end: Any) -> None:
        self._builder, self._end = builder, end

    def leave_if(self, flag: Flag) -> None:
        """Leave the loop if `flag` holds."""
        on = self._builder.append_basic_block()
        self._builder.cbranch(flag.value, self._end, on)
        self._builder.position_at_end(on)


class Emitter:
    """Emits a function into a module of LLVM."""

    def __init__(
        self, module: Any, parts: dict[Any, Any], name: str, kinds: Sequence[Any], result: Any
    ) -> None:
        self.module, self._parts = module, parts
        self._memory: Any = None
        self.function = ir.Function(module, ir.FunctionType(result, kinds), name)
        # Variables are made in the first block, which ends with a jump to the code.
        first, body = (self.function.append_basic_block() for _ in range(2))
        self.builder = ir.IRBuilder(first)
        self.builder.branch(body)
        self.builder.position_at_end(body)

    def constant(self, number: int) -> Int:
        """Return a constant."""
        return Int(self.builder, _INT(number))

    @contextmanager
    def loop(self, start: Int | int, stop: Int | int, step: Int | int = 1) -> Iterator[Int]:
        """Repeat the block for each number of a range."""
        first, end, distance = (self._int(number).value for number in (start, stop, step))
        builder = self.builder
        head, body, after = (builder.append_basic_block() for _ in range(3))
        before = builder.block
        builder.branch(head)
        builder.position_at_end(head)
        at = builder.phi(_INT)
        at.add_incoming(first, before)
        builder.cbranch(builder.icmp_signed("<", at, end), body, after)
        builder.position_at_end(body)
        yield Int(builder, at)
        at.add_incoming(builder.add(at, distance, flags=["nsw"]), builder.block)
        builder.branch(head)
        builder.position_at_end(after)

    @contextmanager
    def repeat(self) -> Iterator[Repetition]:
        """Repeat the block until it is left."""
        builder = self.builder
        body, after = (builder.append_basic_block() for _ in range(2))
        builder.branch(body)
        builder.position_at_end(body)
        yield Repetition(builder, after)
        builder.branch(body)
        builder.position_at_end(after)

    @contextmanager
    def when(self, flag: Flag) -> Iterator[None]:
        """Run the block only if `flag` holds."""
        with self.builder.if_then(flag.value):
            yield

    @contextmanager
    def unless(self, flag: Flag) -> Iterator[None]:
        """Run the block only if `flag` does not hold."""
        with self.builder.if_then(self.builder.not_(flag.value)):
            yield

    def variable(self, start: Any) -> Variable:
        """Return a variable, set to a number, a vector, or a flag."""
        return Variable(self, start)

    def integer(self, vector: Vector) -> Int:
        """Return a vector of one integer as an integer."""
        return Int(self.builder, self.builder.bitcast(vector.convert(_INT).value, _INT))

    def any(self, holds: Vector) -> Flag:
        """Return whether a comparison holds in any lane."""
        bits = ir.IntType(holds.value.type.count)
        value = self.builder.bitcast(holds.value, bits)
        return Flag(self.builder, self.builder.icmp_unsigned("!=", value, bits(0)))

    def lanes(self, holds: Vector) -> Int:
        """Return the lanes in which a comparison holds, as the bits of an integer."""
        bits = self.builder.bitcast(holds.value, ir.IntType(holds.width))
        return Int(self.builder, self.builder.zext(bits, _INT))

    def flag(self, holds: bool) -> Flag:
        """Return a constant flag."""
        return Flag(self.builder, ir.IntType(1)(holds))

    def search(self, start: Int, stop: Int, holds: Callable[[Int], Flag]) -> Int:
        """Return the first number for which something holds, as it does for all after it."""
        low, high = self.variable(start), self.variable(stop)
        with self.repeat() as search:
            a, b = low.get(), high.get()
            search.leave_if(a >= b)
            middle = (a + b) // 2
            is_here = holds(middle)
            low.set(is_here.choose(a, middle + 1))
            high.set(is_here.choose(middle, b))
        found: Int = low.get()
        return found

    def in_vectors(self, n: Int, body: Callable[[Int, int], None], widths: Sequence[int]) -> None:
        """Emit ``body(at, width)`` for vectors of the first width, and less for what is left."""
        done = self.constant(0)
        for width in widths:
            stop = n // width * width
            with self.loop(done, stop, width) as at:
                body(at, width)
            done = stop

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function that ``function(emitter, *arguments)`` emits.

        It is emitted once per module and form of the numbers and tables among the arguments.
        """
        parts, key = self._parts, (function, _forms(arguments))
        values = _values(arguments)
        if key not in parts:
            kinds = [value.type for value in values]
            inner = Emitter(self.module, parts, f"part{len(parts)}", kinds, ir.VoidType())
            inner.function.linkage = "internal"
            inner.function.attributes.add("noinline")  # copies would take long to compile
            parts[key] = inner.function
            function(inner, *_received(inner.builder, arguments, iter(inner.function.args)))
            inner.builder.ret_void()
        self.builder.call(parts[key], values)

    def call_c(self, name: str) -> None:
        """Call a function of the C library that takes nothing and returns an int."""
        self.builder.call(self._extern(name, _STATUS), [])

    def of_c(self, name: str, x: Vector) -> Vector:
        """Return a function of the C library of a vector of one float64."""
        double = DOUBLE.type
        number = self.builder.bitcast(x.value, double)
        result = self.builder.call(self._extern(name, double, double), [number])
        return x.like(self.builder.bitcast(result, x.value.type))

    def claim(self, counter: Numbers, n: Int | int) -> Int:
        """Add to a number that threads share, at once; return what it was before."""
        value = self._int(n).value
        return Int(self.builder, self.builder.atomic_rmw("add", counter.pointer, value, "seq_cst"))

    def allocate(self, n_bytes: Int) -> Numbers:
        """Return memory, from the start of a cache line; without it, the function returns 1."""
        malloc = self._extern("malloc", _POINTER, _INT)
        block = self.builder.call(malloc, [(n_bytes + CACHE_LINE).value])
        is_missing = self.builder.icmp_unsigned("==", self.builder.ptrtoint(block, _INT), _INT(0))
        with self.builder.if_then(is_missing, likely=False):
            self.builder.ret(_STATUS(1))
        self._memory = block
        address = Int(self.builder, self.builder.ptrtoint(block, _INT))
        return Numbers(self.builder, block, BYTE).start(address.up_to(CACHE_LINE) - address)

    def on_stack(self, kind: Kind, n: int) -> Numbers:
        """Return memory for `n` numbers that ends with the function."""
        with self.builder.goto_entry_block():
            room = self.builder.alloca(ir.ArrayType(kind.type, n))
        room.align, room.type = CACHE_LINE, _POINTER
        return Numbers(self.builder, room, kind)

    def leave(self) -> None:
        """Free the memory, and return 0."""
        if self._memory is not None:
            self.builder.call(self._extern("free", ir.VoidType(), _POINTER), [self._memory])
        self.builder.ret(_STATUS(0))

    def _extern(self, name: str, result: Any, *kinds: Any) -> Any:
        found = self.module.globals.get(name)
        return found or ir.Function(self.module, ir.FunctionType(result, kinds), name)

    def _int(self, number: Int | int) -> Int:
        return number if isinstance(number, Int) else self.constant(number)


class Block:
    """The block of 64-bit words that an entry gets, or one that begins at a word of it."""

    def __init__(self, emitter: Emitter, first: int = 0) -> None:
        self._builder = emitter.builder
        words = Numbers(emitter.builder, emitter.function.args[0], WORD)
        self._words = words.start(emitter.constant(first)) if first else words

    def integer(self, place: int) -> Int:
        """Return a word as an integer."""
        return Int(self._builder, self._builder.load(self.counter(place).pointer, typ=_INT))

    def number(self, place: int) -> Vector:
        """Return a word as a vector of one float64."""
        return Numbers(self._builder, self.counter(place).pointer, DOUBLE).load(
            Int(self._builder, _INT(0)), 1
        )

    def numbers(self, place: int, kind: Kind) -> Numbers:
        """Return the numbers that a word is the address of."""
        pointer = self._builder.inttoptr(self.integer(place).value, _POINTER)
        return Numbers(self._builder, pointer, kind)

    def counter(self, place: int) -> Numbers:
        """Return a word itself."""
        return self._words.start(Int(self._builder, _INT(place)))


def entry() -> Emitter:
    """Return what emits the function ``entry`` of a new module, which gets a :class:`Block`."""
    return Emitter(ir.Module("kernel"), {}, "entry", [_POINTER], _STATUS)


def add_one(code: Emitter, counts: Numbers, place: Int) -> Int:
    """Add one to a count; return what it was before."""
    before = counts.load(place, 1)
    counts.store(before + counts.full(1, 1), place)
    return code.integer(before)


def _forms(argument: Any) -> Any:
    """Return what the code of a function depends on of an argument, or of several."""
    if isinstance(argument, tuple | list):
        return tuple(map(_forms, argument))
    if isinstance(argument, Table):
        return argument.numbers.form, argument.n_rows
    return argument.form if isinstance(argument, Numbers) else None


def _values(argument: Any) -> list[Any]:
    """Return what a function gets for an argument, or for several."""
    if isinstance(argument, tuple | list):
        return [value for one in argument for value in _values(one)]
    if isinstance(argument, Table):
        return [*_values(argument.numbers), argument.length.value]
    return argument.values() if isinstance(argument, Numbers) else [argument.value]


def _received(builder: Any, argument: Any, values: Iterator[Any]) -> Any:
    """Return an argument as the function that gets it sees it."""
    if isinstance(argument, tuple | list):
        return [_received(builder, one, values) for one in argument]
    if isinstance(argument, Table):
        numbers = _received(builder, argument.numbers, values)
        return Table(numbers, Int(builder, next(values)), argument.n_rows)
    if isinstance(argument, Numbers):
        return argument.received(builder, values)
    if isinstance(argument, Vector):
        return Vector(builder, next(values), argument.is_signed)
    return Int(builder, next(values))
