"""A registry as bytes, and back: what a process that starts takes from another instead of reading the database.

Promises. A snapshot is one moment: it is copied with the registry's lock held, encoded without. It comes in parts, a
head and two for each segment of SEGMENT slots: the rows with their texts, which are given again only where one of them
has changed, and what changes all the time. What follows from these (bitmaps, ranks, prices in force) is not in it, and
worked out by whoever restores; nor is the ledger's count, which the ledger brings in again. Parts that are broken, of
another registry, or written by a version with other columns are refused before anything is taken from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import Struct as Layout
from typing import TYPE_CHECKING, Any, TypeAlias
from zlib import crc32

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from miners.registry import bitmaps, filling, merging
from miners.registry.attested import Hidden
from miners.registry.columns import COLUMNS, SEGMENT_BITS
from miners.registry.records import PriceWindow
from miners.registry.terms import Kind

if TYPE_CHECKING:
    from miners.registry.store import Registry

FORMAT = 2  # raised whenever the same columns come to mean something else
SEGMENT = 1 << SEGMENT_BITS  # slots

ROW_COLUMNS = (
    "pk", "version", "session", "key_tag", "gpu_vram", "ram_gb", "gpu_count", "cpu_cores", "own_price", "price_cap",
    "max_parallel", "trust_s", "trust_f", "trust_at", "latency_mean", "latency_count", "attested_until", "drains",
    "since", "generation",
)  # fmt: skip
FLAGS = ("disabled", "logged_out")
LIVE_COLUMNS = ("last_seen", "own_then", *merging.TIMED, *(f"{name}_at" for name in merging.TIMED))
DTYPES = {column.name: np.dtype(column.dtype) for column in COLUMNS}
LAYOUT = crc32(repr((FORMAT, [(name, DTYPES[name].str) for name in (*ROW_COLUMNS, *LIVE_COLUMNS)])).encode())

HEAD = "head"
PART = Layout("<IIQII")  # LAYOUT, sum of what follows the sum, writer, first slot, slots
SUM = Layout("<I")

Piece: TypeAlias = NDArray[Any] | bytes


class Refused(ValueError):
    """Not a snapshot that this version of the hub can take."""


class Place(Struct, frozen=True):
    """Where on the bus a process stands: all before it is applied, nothing after it is."""

    epoch: bytes
    positions: dict[str, bytes]  # by stream
    heard: dict[int, tuple[int, int]]  # newest batch and event of each writer


class Head(Struct, frozen=True):
    layout: int
    writer: int
    size: int  # slots
    stretch: float  # of leases and grace
    place: Place
    vocabulary: list[tuple[Kind, str] | None]  # by term code
    windows: dict[int, tuple[PriceWindow, ...]]  # by slot
    hidden: dict[int, Hidden]  # likewise, what miners claim of that which is attested
    removed: list[int]  # primary keys
    events: list[tuple[str, bytes]]  # what else the parts of the process know, as events of the bus

    @property
    def segments(self) -> range:
        return range(-(-self.size // SEGMENT))


@dataclass(frozen=True, slots=True)
class Texts:
    flags: list[NDArray[np.bool_]]
    ids: list[str]
    addrs: list[str]
    codes: list[bytes]


@dataclass(frozen=True, slots=True)
class Copy:
    """What was copied with the lock held."""

    head: Head
    edits: dict[int, int]  # of each segment, when it was copied
    rows: dict[int, tuple[list[NDArray[Any]], Texts]]  # by segment, of those that changed
    live: dict[int, list[NDArray[Any]]]


class Strings(Struct, array_like=True):
    ids: list[str]
    addrs: list[str]


_head = msgspec.msgpack.Decoder(Head)
_strings = msgspec.msgpack.Decoder(Strings)
_encode = msgspec.msgpack.encode


def copied(
    registry: Registry, *, writer: int, place: Place, events: list[tuple[str, bytes]], known: Mapping[int, int]
) -> Copy:
    """known: the edits of the last copy, whose segments are left out where they did not change since."""
    with registry.lock:
        size = registry.size
        head = Head(
            layout=LAYOUT,
            writer=writer,
            size=size,
            stretch=registry.stretch,
            place=place,
            vocabulary=registry.terms.vocabulary(),
            windows=registry.prices.all_windows(),
            hidden=registry.attested.all_hidden(),
            removed=list(registry.removed),
            events=events,
        )
        edits = {segment: registry.edits[segment] for segment in head.segments}
        changed = [segment for segment, edit in edits.items() if known.get(segment) != edit]
        return Copy(
            head=head,
            edits=edits,
            rows={each: (_columns(registry, ROW_COLUMNS, each), _texts(registry, each)) for each in changed},
            live={each: _columns(registry, LIVE_COLUMNS, each) for each in head.segments},
        )


def _columns(registry: Registry, names: tuple[str, ...], segment: int) -> list[NDArray[Any]]:
    slots = _slots(segment, registry.size)
    return [getattr(registry.columns, name)[slots].copy() for name in names]


def _texts(registry: Registry, segment: int) -> Texts:
    slots = _slots(segment, registry.size)
    rows = np.arange(slots.start, slots.stop)
    return Texts(
        flags=[bitmaps.test_rows(getattr(registry.states, name), rows) for name in FLAGS],
        ids=registry.ids[slots],
        addrs=registry.addrs[slots],
        codes=registry.codes[slots],
    )


def _slots(segment: int, size: int) -> slice:
    return slice(segment << SEGMENT_BITS, min((segment + 1) << SEGMENT_BITS, size))


def encoded(copy: Copy) -> dict[str, bytes]:
    """The parts by name."""
    parts = {HEAD: _summed(_encode(copy.head))}
    for segment, (columns, texts) in copy.rows.items():
        lengths = np.fromiter(map(len, texts.codes), np.uint32, len(texts.codes))
        strings = _encode(Strings(texts.ids, texts.addrs))
        body: list[Piece] = [*columns, *texts.flags, lengths, b"".join(texts.codes), strings]
        parts[f"rows {segment}"] = _part(copy.head, segment, body)
    for segment, columns in copy.live.items():
        parts[f"live {segment}"] = _part(copy.head, segment, columns)
    return parts


def _part(head: Head, segment: int, body: Sequence[Piece]) -> bytes:
    slots = _slots(segment, head.size)
    data = b"".join(each if isinstance(each, bytes) else each.tobytes() for each in body)
    about = head.writer, slots.start, slots.stop - slots.start
    return PART.pack(LAYOUT, crc32(data), *about) + data


def _summed(data: bytes) -> bytes:
    return SUM.pack(crc32(data)) + data


def head_of(parts: Mapping[str, bytes]) -> Head:
    """Refused where it is broken, or of another form."""
    data = parts.get(HEAD, b"")
    if len(data) < SUM.size or SUM.unpack_from(data)[0] != crc32(data[SUM.size :]):
        raise Refused("its head is broken")
    try:
        head = _head.decode(data[SUM.size :])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # a text that is no UTF-8 is a ValueError
        raise Refused(f"its head is of another form: {error}") from error
    if head.layout != LAYOUT:
        raise Refused("its columns are those of another version")
    return head


def restore(registry: Registry, parts: Mapping[str, bytes], *, now: float) -> Head:
    """Fill an empty registry. Refused leaves it useless."""
    head = head_of(parts)
    with registry.lock:
        assert not registry.size, "only an empty registry is filled"
        try:
            _fill(registry, head, parts, now)
        except (ArithmeticError, LookupError, TypeError, ValueError, msgspec.MsgspecError) as error:
            # its sums are right, and what they are of is not: another version, or whoever else writes to Redis
            raise error if isinstance(error, Refused) else Refused(f"it makes no sense: {error!r:.200}") from error
    return head


def _fill(registry: Registry, head: Head, parts: Mapping[str, bytes], now: float) -> None:
    if head.size < 0 or not all(0 <= slot < head.size for slot in (*head.windows, *head.hidden)):
        raise Refused("its head is of another form")
    read = {
        segment: [
            _Reader(head, _slots(segment, head.size), parts.get(f"{kind} {segment}", b"")) for kind in ("rows", "live")
        ]
        for segment in head.segments
    }  # all of them, before room is made for as many miners as the head says
    registry.make_room(head.size)
    registry.set_stretch(head.stretch)
    for segment in head.segments:
        slots = _slots(segment, head.size)
        rows, live = read[segment]
        for names, reader in ((ROW_COLUMNS, rows), (LIVE_COLUMNS, live)):
            for name in names:
                getattr(registry.columns, name)[slots] = reader.array(DTYPES[name])
        for name in FLAGS:
            registry.states.put_rows(name, slots.start + np.flatnonzero(rows.array(np.dtype("?"))))
        codes = rows.pieces(rows.array(np.dtype("u4")))
        texts = rows.strings()
        registry.take_names(texts.ids, texts.addrs, codes)
    filling.hold_codes(registry, head.vocabulary)
    registry.removed.update(head.removed)
    for slot, windows in head.windows.items():
        registry.prices.give(slot, windows)
    for slot, hidden in head.hidden.items():
        registry.attested.hide(slot, hidden)
    registry.order.add_all(registry.slots, registry.slots, registry.columns.id_order)
    taken = np.fromiter(registry.slots.values(), np.intp, len(registry.slots))
    if len(taken):
        filling.settle(registry, taken, now)


class _Reader:
    """One part, from its beginning to its end."""

    def __init__(self, head: Head, slots: slice, data: bytes) -> None:
        self._data, self._at, self._count = data, PART.size, slots.stop - slots.start
        if len(data) < PART.size:
            raise Refused("a part of it is missing")
        layout, total, *about = PART.unpack_from(data)
        if layout != LAYOUT or about != [head.writer, slots.start, self._count]:
            raise Refused("a part of it belongs to another snapshot")
        if total != crc32(memoryview(data)[PART.size :]):
            raise Refused("a part of it is broken")

    def array(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """One element a slot."""
        found: NDArray[Any] = np.frombuffer(self._data, dtype, self._count, self._at)
        self._at += found.nbytes
        return found

    def pieces(self, lengths: NDArray[np.uint32]) -> list[bytes]:
        found = []
        for end in (self._at + np.cumsum(lengths, dtype=np.int64)).tolist():
            found.append(self._data[self._at : end])
            self._at = end
        return found

    def strings(self) -> Strings:
        """The last there is."""
        return _strings.decode(memoryview(self._data)[self._at :])
