"""Bytes for decoders: none in particular, and good ones in which something has been changed."""

from collections.abc import Sequence

from hypothesis import strategies as st

PIECES = (
    b"\0", b"\xff", b"\\u0000", b"\\ud800", b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b"[[[[[[[[[[[[[[[[[[", b",", b":",
    b"null", b"true", b"NaN", b"Infinity", b"-1", b"0", b"1.5", b"1e400", b"1e-400", b"9" * 30, b"9" * 5000, b"-0.0",
    b"\xd9\xa1", "\u202e".encode(), b"\r\n", b"%", b".", b"..", b"*", b"`", b"&", b"|", b"@", b"=1+1", b" " * 70, b"x" * 300,
    b"\x7f\xff\xff\xff\xff\xff\xff\xff", b"\x00\x00\x00\x00\x00\x00\xf8\x7f", b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    b"\xdf\xff\xff\xff\xff", b"\xc0", b"\x90", b"\x80", b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59",
)  # fmt: skip


@st.composite
def spoiled(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    data = draw(st.sampled_from(list(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 1) | st.integers(0, 20)))
        put = draw(st.sampled_from(PIECES) | st.binary(max_size=3) | st.just(data[start:end] * 2))
        data = data[:start] + put + data[end:]
        if draw(st.integers(0, 9)) == 0:
            data = data[: draw(st.integers(0, len(data)))]
    return data


def anything(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    return st.one_of(st.binary(max_size=40), spoiled(seeds), spoiled(seeds), spoiled(seeds))
