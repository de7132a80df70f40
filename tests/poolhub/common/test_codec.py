"""Bytes to structs: what is taken, what is refused and how it is named."""

import json
import math
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from poolhub.common import codec
from poolhub.common.errors import FieldError, HubError, MalformedJSON, ValidationFailed
from poolhub.common.fields import Count, Invalid, Number, Price

pytestmark = pytest.mark.pure


class Inner(Struct, kw_only=True, forbid_unknown_fields=True):
    size: Number | None = None
    names: Annotated[list[Annotated[str, Meta(max_length=3)]], Meta(max_length=2)] | None = None
    kind: Literal["a", "b"] | None = None


class Sum(Struct, kw_only=True):
    low: int = 0
    high: int = 9

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise Invalid("low is above high", code="out_of_range")


class Outer(Struct, kw_only=True, rename={"renamed": "re-named"}):
    key: Annotated[str, Meta(min_length=1)]
    count: Count | None = None
    price: Price | None = None
    inner: Inner | None = None
    inners: list[Inner] | None = None
    either: Count | list[str] | None = None
    sum: Sum | None = None
    renamed: bool | None = None
    free: dict[str, Any] | None = None
    counts: dict[Annotated[str, Meta(min_length=1)], int] | None = None


def read(body: str | bytes | dict[str, Any]) -> Outer:
    if isinstance(body, dict):
        body = json.dumps(body)
    return codec.decode(body.encode() if isinstance(body, str) else body, Outer)


def refused(body: str | bytes | dict[str, Any]) -> ValidationFailed:
    with pytest.raises(ValidationFailed) as caught:
        read(body)
    return caught.value


def named(body: str | bytes | dict[str, Any]) -> dict[str, str]:
    return {error.field: error.code for error in refused(body).errors}


def test_a_bad_key_is_an_error_of_its_object() -> None:
    assert named({"key": "k", "counts": {"": 1}}) == {"counts": "too_short"}
    assert named({"key": "k", "counts": {"": 1}, "count": -1}) == {"counts": "too_short", "count": "out_of_range"}


def test_a_body_becomes_its_struct() -> None:
    found = read('{"key":"k","count":3,"price":0.1,"inner":{"size":1,"names":["a"]},"either":["x"],"re-named":true}')
    inner = Inner(size=1.0, names=["a"])
    assert found == Outer(key="k", count=3, price=Decimal("0.1"), inner=inner, either=["x"], renamed=True)


def test_null_is_left_out_wherever_it_stands() -> None:
    names = ("count", "price", "inner", "inners", "either", "sum", "re-named", "free", "unknown")
    assert read({"key": "k", **dict.fromkeys(names)}) == Outer(key="k")
    assert read({"key": "k", "inner": {"size": None, "names": None}}).inner == Inner()
    assert read({"key": "k", "sum": {"low": None, "high": 3}}).sum == Sum(high=3)


def test_null_where_a_value_is_required_is_missing() -> None:
    assert named({"key": None}) == {"key": "required"}


@pytest.mark.parametrize("number", ["3", "3.0", "3e0", "0.3e1"])
def test_a_whole_number_may_be_written_with_a_point(number) -> None:
    assert read(f'{{"key":"k","count":{number},"either":{number}}}') == Outer(key="k", count=3, either=3)
    assert read(f'{{"key":"k","count":{number},"sum":{{"low":null}}}}').count == 3  # on the slow way too


def test_unknown_fields_are_ignored_unless_the_struct_forbids_them() -> None:
    assert read('{"key":"k","x":[1,{"y":null}],"X":1e3}') == Outer(key="k")
    assert named({"key": "k", "inner": {"sise": None}}) == {"inner.sise": "unknown_field"}


@pytest.mark.parametrize(
    ("key", "nearest"), [("sise", "size"), ("Size", "size"), ("names ", "names"), ("kinds", "kind"), ("", "size")]
)
def test_an_unknown_field_names_the_nearest_known_one(key, nearest) -> None:
    error = refused({"key": "k", "inner": {key: 1}}).errors[0]
    assert error.field == f"inner.{key}"
    assert error.detail.endswith(f"the nearest known one is {nearest}")


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ("{}", {"key": "required"}),
        ('{"key":""}', {"key": "too_short"}),
        ('{"key":1}', {"key": "invalid_type"}),
        ('{"key":"k","count":-1}', {"count": "out_of_range"}),
        ('{"key":"k","count":1000001}', {"count": "out_of_range"}),
        ('{"key":"k","count":true}', {"count": "invalid_type"}),
        ('{"key":"k","count":1.5}', {"count": "invalid_type"}),
        ('{"key":"k","count":1e400}', {"count": "out_of_range"}),
        ('{"key":"k","price":"x"}', {"price": "invalid_format"}),
        ('{"key":"k","price":[]}', {"price": "invalid_type"}),
        ('{"key":"k","inner":[]}', {"inner": "invalid_type"}),
        ('{"key":"k","inner":{"names":["a","abcd"]}}', {"inner.names[1]": "too_long"}),
        ('{"key":"k","inner":{"names":["a","b","c"]}}', {"inner.names": "too_long"}),
        ('{"key":"k","inner":{"kind":"c"}}', {"inner.kind": "invalid_value"}),
        ('{"key":"k","inners":[{},{"size":-1}]}', {"inners[1].size": "out_of_range"}),
        ('{"key":"k","inners":[{},5]}', {"inners[1]": "invalid_type"}),
        ('{"key":"k","either":"x"}', {"either": "invalid_type"}),
        ('{"key":"k","either":[1]}', {"either[0]": "invalid_type"}),
        ('{"key":"k","sum":{"low":5,"high":1}}', {"sum": "out_of_range"}),
        ('{"key":"k","re-named":1}', {"re-named": "invalid_type"}),
        ('{"key":"k","free":5}', {"free": "invalid_type"}),
        ("[]", {"": "invalid_type"}),
    ],
)
def test_each_fault_has_its_path_and_its_code(body, errors) -> None:
    assert named(body) == errors


def test_every_fault_is_named_once() -> None:
    body = {"count": -1, "price": "x", "inner": {"size": "s", "x": 1, "kind": 5}, "sum": {"low": "a"}}
    assert [error.field for error in refused(body).errors] == [
        "key", "count", "price", "inner.size", "inner.kind", "inner.x", "sum.low",
    ]  # fmt: skip


def test_the_code_is_that_of_the_fields_where_they_agree() -> None:
    assert refused({"key": "k", "count": -1, "price": -1}).code == "out_of_range"
    assert refused({"key": "k", "count": -1, "price": "x"}).code == "validation_failed"


def test_there_are_no_more_than_50_errors() -> None:
    assert len(refused({"key": "k", "inner": {f"x{i}": 1 for i in range(500)}}).errors) == 50


def test_no_names_are_compared_for_errors_that_nobody_sees(monkeypatch) -> None:
    """20,000 unknown keys in one body took 3 s."""
    compared = []

    def counted(key: str, *args: Any, **kwargs: Any) -> list[str]:
        compared.append(key)
        return get_close_matches(key, *args, **kwargs)

    monkeypatch.setattr(codec, "get_close_matches", counted)
    refused({"count": -1, "key": "k", "inner": {f"x{i}": 1 for i in range(500)}})
    assert len(compared) == 49


def test_an_unknown_key_of_any_length_costs_little_to_say() -> None:
    error = refused({"key": "k", "inner": {"x" * 100_000: 1}}).errors[0]
    assert error.field == "inner." + "x" * 64


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"{", b'{"key":"k"', b'{"key":"k"}}', b"{key:1}", b"\xff", b'{"key":"\xff"}', b'{"key":"\xed\xa0\x80"}',
     b'{"key":"\\ud800"}', b'{"key":"\\udc00"}', b'{"key":"a\nb"}', b'{"key":"\x00"}', b'{"key":NaN}', b'{"key":-Infinity}',
     b'{"key":5', b"[NaN]", b'{"inner":{"x":1},"key":nul}',  # malformed behind a fault of another kind
     b'{"key":01}', b'{"key":+1}', b'{"key":"k",}', b'\xef\xbb\xbf{"key":"k"}', '{"key":"k"}'.encode("utf-16")],
)  # fmt: skip
def test_what_is_no_json_is_malformed(body) -> None:
    with pytest.raises(MalformedJSON):
        read(body)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ('{"key":"a\\u0000"}', "key"),
        ('{"key":"k","inner":{"names":["a","\\u0000"]}}', "inner.names[1]"),
        ('{"key":"k","free":{"a":{"b":["\\u0000"]}}}', "free.a.b[0]"),
        ('{"key":"k","free":{"a\\u0000":1}}', "free"),
        ('{"key":"\\u0000","sum":{"low":null}}', "key"),
    ],
)
def test_nul_characters_are_refused_in_whatever_is_read(body, path) -> None:
    assert named(body) == {path: "invalid_character"}


def test_a_backslash_before_u0000_is_no_nul() -> None:
    assert read(r'{"key":"\\u0000"}').key == "\\u0000"


@pytest.mark.parametrize("levels", [16, 17, 1000, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_16_levels_are_taken_and_no_more(levels, opening) -> None:
    body = '{"key":"k","x":' + opening * (levels - 1) + "1" + {"[": "]", "{": "}"}[opening[0]] * (levels - 1) + "}"
    if levels <= codec.MAX_DEPTH:
        assert read(body) == Outer(key="k")
    else:
        assert refused(body).code == "too_deep"


@pytest.mark.parametrize("text", ["[" * 50, "{[" * 50, '\\"' + "[" * 50, "\\\\", '[\\"[' * 30])
def test_brackets_in_texts_are_no_levels(text) -> None:
    assert read(f'{{"key":"{text}","x":[["{text}"]]}}').key == json.loads(f'"{text}"')


def test_many_lists_beside_each_other_are_not_deep() -> None:
    assert read('{"key":"k","x":[' + ",".join(["[{}]"] * 5000) + "]}") == Outer(key="k")


def test_the_wide_characters_of_json_come_through() -> None:
    assert read('{"key":"é😀\\u2028\\ud83d\\ude00"}').key == "é😀\u2028😀"


def test_convert_reads_an_object_as_decode_reads_its_bytes() -> None:
    assert codec.convert({"key": "k", "price": "0.1", "count": 3.0}, Outer) == Outer(
        key="k", price=Decimal("0.1"), count=3
    )
    with pytest.raises(ValidationFailed) as caught:
        codec.convert({"key": "\0", "inner": {"size": -1}}, Outer, path="args")
    assert [error.field for error in caught.value.errors] == ["args.inner.size"]
    with pytest.raises(ValidationFailed) as caught:
        codec.convert({"key": "\0"}, Outer, path="args")
    assert [error.field for error in caught.value.errors] == ["args.key"]


@pytest.mark.parametrize("obj", [float("nan"), math.inf, 10**400, {"a": 1}, None, "x", [1]])
def test_convert_refuses_what_is_no_struct(obj) -> None:
    with pytest.raises(HubError):
        codec.convert(obj, Outer)
    with pytest.raises(HubError):
        codec.convert({"key": "k", "count": obj}, Outer) if obj is not None else codec.convert({}, Outer)


def test_encode_writes_prices_and_decimals_as_numbers() -> None:
    written = codec.encode({"a": Price("0.10"), "b": Decimal("1E-8"), "c": [Price("1E+9")]})
    assert json.loads(written) == {"a": 0.1, "b": 1e-8, "c": [1e9]}


def test_encode_takes_no_stranger() -> None:
    with pytest.raises(NotImplementedError):
        codec.encode({"a": object()})


def test_what_is_encoded_is_decoded_to_the_same() -> None:
    made = Outer(key="k", price=Price("0.12345678"), inner=Inner(names=["é"]), sum=Sum(high=2), free={"x": [1.5, None]})
    assert codec.decode(codec.encode(made), Outer) == made


def test_a_field_error_is_plain_data() -> None:
    assert refused({"key": "k", "count": -1}).errors == (FieldError("count", "out_of_range", "Expected int >= 0"),)
    assert msgspec.json.decode(codec.encode(refused({"key": 5}).errors)) == [
        {"field": "key", "code": "invalid_type", "detail": "Expected str, got int"}
    ]
