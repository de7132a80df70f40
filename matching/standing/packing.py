"""A part of a tally as bytes, and back: little-endian arrays one after another, behind a head that names them. Pure."""

import zlib

import msgspec
import numpy as np

from matching.standing.tally import KEPT, Part

FORMAT = 1


class Packed(msgspec.Struct, array_like=True):
    format: int
    kept: int
    pk: bytes
    sums: dict[str, bytes]
    rejected: dict[str, bytes]
    ranks: bytes
    prices: bytes


_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Packed)


def pack(part: Part) -> bytes:
    packed = Packed(
        FORMAT,
        KEPT,
        part.pk.astype("<i8").tobytes(),
        {name: column.astype("<f4").tobytes() for name, column in part.sums.items()},
        {name: column.astype("<f4").tobytes() for name, column in part.rejected.items()},
        part.ranks.astype("<i4").tobytes(),
        part.prices.astype("<i8").tobytes(),
    )
    return zlib.compress(_encoder.encode(packed), 1)


def unpack(data: bytes) -> Part | None:
    """None for what another version has written."""
    packed = _decoder.decode(zlib.decompress(data))
    if packed.format != FORMAT:
        return None
    return Part(
        np.frombuffer(packed.pk, "<i8"),
        {name: np.frombuffer(column, "<f4") for name, column in packed.sums.items()},
        {name: np.frombuffer(column, "<f4") for name, column in packed.rejected.items()},
        np.frombuffer(packed.ranks, "<i4").reshape(-1, packed.kept),
        np.frombuffer(packed.prices, "<i8").reshape(-1, packed.kept),
    )
