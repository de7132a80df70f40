"""No bytes from outside bring about an error that is not documented, nor take long."""

import time

import pytest
from hypothesis import given

from tests.effort import effort
from tests.fuzz.decoders import Decoder, decoders
from tests.fuzz.spoiling import anything

pytestmark = [
    pytest.mark.pure,
    # of JMESPath, whose old form of a text it still reads
    pytest.mark.filterwarnings("ignore:deprecated string literal syntax:PendingDeprecationWarning"),
]
DECODERS = decoders()
LIMIT_S = 0.5  # of processor time, for under 64 KB


@pytest.mark.parametrize("name", DECODERS)
def test_what_is_good_is_read(name) -> None:
    assert [seed for seed in DECODERS[name].seeds if not DECODERS[name].run(seed)] == []


@pytest.mark.parametrize("name", DECODERS)
def test_whatever_comes_is_read_or_given_up_as_documented(name) -> None:
    decoder = DECODERS[name]

    @effort(60)
    @given(anything(decoder.seeds))
    def hold(data: bytes) -> None:
        took_s(decoder, data)

    hold()


LONG = {
    "nested": b"[" * 60_000, "nested objects": b'{"a":' * 12_000, "one string": b'"' + b"x" * 60_000 + b'"', "escapes": b'"' + b"\\" * 60_000,
    "digits": b"9" * 60_000, "commas": b"," * 60_000, "dots": b"." * 60_000, "spaces": b" " * 60_000, "quotes": b'"' * 60_000,
    "parentheses": b"(" * 60_000, "a list": b"[" + b"1," * 30_000 + b"1]", "names": b"{" + b'"a":1,' * 10_000 + b'"a":1}',
    "lines": b"\n" * 60_000, "zeros": bytes(60_000), "high": b"\xff" * 60_000, "addresses": b"127.0.0.1," * 6_000,
}  # fmt: skip


@pytest.mark.parametrize("name", DECODERS)
def test_what_is_long_takes_no_long(name) -> None:
    slow = {what: took for what, data in LONG.items() if (took := took_s(DECODERS[name], data)) > LIMIT_S}
    assert slow == {}


def took_s(decoder: Decoder, data: bytes) -> float:
    started = time.process_time()
    decoder.run(data)
    return time.process_time() - started


def test_an_error_that_is_not_documented_is_found() -> None:
    broken = Decoder(lambda data: data.decode(), (KeyError,), [b"fine"])

    @effort(200)
    @given(anything(broken.seeds))
    def hold(data: bytes) -> None:
        broken.run(data)

    with pytest.raises(UnicodeDecodeError):
        hold()
