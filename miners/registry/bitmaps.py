"""Sets of slots as packed bitmaps: uint64 words, bit s & 63 of word s >> 6 stands for slot s."""

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Words: TypeAlias = NDArray[np.uint64]
Rows: TypeAlias = NDArray[np.intp]
Mask: TypeAlias = NDArray[np.bool_]

BITS = [np.uint64(1 << i) for i in range(64)]
FEW_WORDS = 512  # up to here it costs less to look at every bit
INVERSE = [~bit for bit in BITS]


def words_for(slots: int) -> int:
    return (slots + 63) >> 6


def set_bit(words: Words, slot: int) -> None:
    words[slot >> 6] |= BITS[slot & 63]


def clear_bit(words: Words, slot: int) -> None:
    words[slot >> 6] &= INVERSE[slot & 63]


def put_bit(words: Words, slot: int, value: bool) -> None:
    if value:
        words[slot >> 6] |= BITS[slot & 63]
    else:
        words[slot >> 6] &= INVERSE[slot & 63]


def has_bit(words: Words, slot: int) -> bool:
    return bool(words.item(slot >> 6) >> (slot & 63) & 1)


def count(words: Words) -> int:
    return int(np.add.reduce(np.bitwise_count(words)))


def to_mask(words: Words) -> Mask:
    """One bool a slot, shape (64 * len(words),)."""
    return np.unpackbits(words.view(np.uint8), bitorder="little").view(np.bool_)


def to_rows(words: Words) -> Rows:
    """The slots in the set, ascending."""
    if len(words) <= FEW_WORDS:
        return to_mask(words).nonzero()[0]
    octets = words.view(np.uint8)
    filled = np.flatnonzero(octets != 0)
    if 2 * len(filled) > len(octets):
        return np.flatnonzero(to_mask(words))
    inside = np.flatnonzero(np.unpackbits(octets[filled], bitorder="little").view(np.bool_))
    rows: Rows = (filled[inside >> 3] << 3) | (inside & 7)
    return rows


def from_mask(mask: Mask) -> Words:
    """The length of mask is a multiple of 64."""
    return np.packbits(mask, bitorder="little").view(np.uint64)


def from_rows(rows: Rows | Iterable[int], words: int) -> Words:
    slots = np.asarray(rows, np.int64)
    if len(slots) > words // 4:
        mask = np.zeros(words << 6, np.bool_)
        mask[slots] = True
        return from_mask(mask)
    result = np.zeros(words, np.uint64)
    np.bitwise_or.at(result, slots >> 6, np.uint64(1) << (slots & 63).astype(np.uint64))
    return result


def test_rows(words: Words, rows: Rows) -> Mask:
    """Which of the slots are in the set."""
    bits: NDArray[np.uint8] = (words.view(np.uint8)[rows >> 3] >> (rows & 7).astype(np.uint8)) & np.uint8(1)
    return bits.view(np.bool_)


def grown(words: Words, length: int) -> Words:
    result = np.zeros(length, np.uint64)
    result[: len(words)] = words
    return result
