"""Which miners hold which term: capability, tag, accelerator, region, protocol, GPU name.

Hybrid storage (design, section 2): a term held by many is a packed bitmap, one held by few an array of slots that is
scattered into a bitmap when asked for. A term that nobody holds any longer is forgotten, and its code given away again.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from miners.registry import bitmaps
from miners.registry.bitmaps import Rows, Words

SPARSE_MIN = 64  # below so many holders a bitmap is never worth it
SPARSE_SHARE = 256  # held by fewer than one in so many: sparse


class Kind(StrEnum):
    ACCEL = "accel"
    TAG = "tag"
    CAPABILITY = "capability"
    REGION = "region"
    PROTO = "proto"
    GPU = "gpu"


class Term:
    __slots__ = ("code", "count", "kind", "name", "slots", "words")

    def __init__(self, kind: Kind, name: str, code: int) -> None:
        self.kind = kind
        self.name = name
        self.code = code
        self.count = 0
        self.slots: NDArray[np.int32] = np.empty(2, np.int32)  # the first count of them, unordered; unused once dense
        self.words: Words | None = None


class Terms:
    def __init__(self, words: int) -> None:
        self._words = words
        self._by_name: dict[Kind, dict[str, Term]] = {kind: {} for kind in Kind}
        self._by_code: list[Term | None] = []
        self._free: list[int] = []
        self._regions: list[str] = []  # sorted, for prefixes
        self.regions_version = 0  # another one whenever a region comes or goes
        self._gpus_like: dict[str, list[Term]] = {}  # asked substring -> names that have it

    def grow(self, words: int) -> None:
        self._words = words
        for term in self._by_code:
            if term is not None and term.words is not None:
                term.words = bitmaps.grown(term.words, words)

    def name(self, code: int) -> str:
        term = self._by_code[code]
        assert term is not None, "a code in use names a term"
        return term.name

    def kind_and_name(self, code: int) -> tuple[Kind, str]:
        term = self._by_code[code]
        assert term is not None, "a code in use names a term"
        return term.kind, term.name

    def code(self, kind: Kind, name: str) -> int | None:
        term = self._by_name[kind].get(name)
        return None if term is None else term.code

    def codes(self, kind: Kind) -> dict[int, str]:
        """The terms of a kind in use, names by code."""
        return {term.code: name for name, term in self._by_name[kind].items()}

    def add(self, kind: Kind, name: str, slot: int, population: int) -> int:
        """The term's code. Adding a slot twice is the caller's mistake."""
        term = self._by_name[kind].get(name) or self._create(kind, name)
        if term.words is not None:
            bitmaps.set_bit(term.words, slot)
        elif term.count >= max(SPARSE_MIN, population // SPARSE_SHARE):
            term.words = bitmaps.from_rows(term.slots[: term.count].astype(np.intp), self._words)
            term.slots = np.empty(0, np.int32)
            bitmaps.set_bit(term.words, slot)
        else:
            if term.count == len(term.slots):
                term.slots = np.resize(term.slots, term.count + max(2, term.count // 2))
            term.slots[term.count] = slot
        term.count += 1
        return term.code

    def vocabulary(self) -> list[tuple[Kind, str] | None]:
        """By code; None for one that is free."""
        return [None if term is None else (term.kind, term.name) for term in self._by_code]

    def name_all(self, vocabulary: Sequence[tuple[Kind, str] | None]) -> None:
        """Where no term is: those of another registry, by its codes, without holders yet."""
        assert not self._by_code, "codes are given once"
        for named in vocabulary:
            if named is None:
                self._by_code.append(None)
            else:
                self._create(*named)
        self._free = [code for code, term in enumerate(self._by_code) if term is None]

    def codes_of(self, kind: Kind, names: Sequence[str]) -> NDArray[np.int64]:
        """The code of each; a term that is new has no holder yet."""
        terms = self._by_name[kind]
        for name in dict.fromkeys(names):
            if name not in terms:
                self._create(kind, name)
        codes = {name: term.code for name, term in terms.items()}
        return np.fromiter(map(codes.__getitem__, names), np.int64, len(names))

    def put_rows(self, code: int, slots: Rows, population: int) -> None:
        """As add(), for many slots at once."""
        term = self._by_code[code]
        assert term is not None, "a code in use names a term"
        count = term.count + len(slots)
        if term.words is not None:
            term.words |= bitmaps.from_rows(slots, self._words)
        elif count > max(SPARSE_MIN, population // SPARSE_SHARE):
            term.words = bitmaps.from_rows(
                np.concatenate([term.slots[: term.count].astype(np.intp), slots]), self._words
            )
            term.slots = np.empty(0, np.int32)
        else:
            term.slots = np.concatenate([term.slots[: term.count], slots.astype(np.int32)])
        term.count = count

    def discard(self, code: int, slot: int) -> None:
        term = self._by_code[code]
        assert term is not None, "a code in use names a term"
        if term.words is not None:
            bitmaps.clear_bit(term.words, slot)
        else:
            held = term.slots[: term.count]
            held[np.flatnonzero(held == slot)[0]] = held[-1]
        term.count -= 1
        if not term.count:
            self._forget(term)

    def words(self, kind: Kind, name: str, words: int) -> Words:
        """The holders; not to be written to."""
        term = self._by_name[kind].get(name)
        return np.zeros(words, np.uint64) if term is None else self._holders(term, words)

    def any_of(self, kind: Kind, names: tuple[str, ...], words: int) -> Words:
        terms = [term for term in map(self._by_name[kind].get, names) if term is not None]
        return self._union(terms, words)

    def region_taken(self, asked: str, words: int) -> Words:
        """Miners whose region is the asked one, or has it as a prefix up to a "-" (contract, section 4)."""
        regions = self._by_name[Kind.REGION]
        start = bisect_left(self._regions, asked + "-")
        terms = [regions[asked]] if asked in regions else []
        for name in self._regions[start:]:
            if not name.startswith(asked + "-"):
                break
            terms.append(regions[name])
        return self._union(terms, words)

    def gpus_like(self, asked: tuple[str, ...], words: int) -> Words:
        """Miners whose GPU name contains one of the asked strings, whatever the case."""
        terms: dict[int, Term] = {}
        for part in asked:
            key = part.lower()
            if key not in self._gpus_like:
                if len(self._gpus_like) >= 256:
                    self._gpus_like.clear()
                self._gpus_like[key] = [t for name, t in self._by_name[Kind.GPU].items() if key in name.lower()]
            terms.update((term.code, term) for term in self._gpus_like[key])
        return self._union(list(terms.values()), words)

    def named_like(self, kind: Kind, part: str, words: int) -> Words:
        """Miners whose term of this kind contains the part, whatever the case."""
        part = part.lower()
        return self._union([term for name, term in self._by_name[kind].items() if part in name.lower()], words)

    def counts(self, kind: Kind) -> dict[str, int]:
        """How many hold each term of a kind."""
        return {name: term.count for name, term in self._by_name[kind].items()}

    def nbytes(self) -> int:
        return sum(t.slots.nbytes + (0 if t.words is None else t.words.nbytes) for t in self._by_code if t is not None)

    def _holders(self, term: Term, words: int) -> Words:
        if term.words is not None:
            return term.words[:words]
        return bitmaps.from_rows(term.slots[: term.count].astype(np.intp), words)

    def _union(self, terms: list[Term], words: int) -> Words:
        dense = [term.words[:words] for term in terms if term.words is not None]
        few: list[Rows] = [term.slots[: term.count].astype(np.intp) for term in terms if term.words is None]
        if len(dense) == 1 and not few:
            return dense[0]
        result = bitmaps.from_rows(np.concatenate(few), words) if few else np.zeros(words, np.uint64)
        for each in dense:
            result |= each
        return result

    def _create(self, kind: Kind, name: str) -> Term:
        code = self._free.pop() if self._free else len(self._by_code)
        term = Term(kind, name, code)
        if code == len(self._by_code):
            self._by_code.append(term)
        else:
            self._by_code[code] = term
        self._by_name[kind][name] = term
        self._vocabulary_changed(kind, name, added=True)
        return term

    def _forget(self, term: Term) -> None:
        del self._by_name[term.kind][term.name]
        self._by_code[term.code] = None
        self._free.append(term.code)
        self._vocabulary_changed(term.kind, term.name, added=False)

    def _vocabulary_changed(self, kind: Kind, name: str, *, added: bool) -> None:
        if kind is Kind.GPU:
            self._gpus_like.clear()
        elif kind is Kind.REGION:
            self.regions_version += 1
            if added:
                insort(self._regions, name)
            else:
                del self._regions[bisect_left(self._regions, name)]
