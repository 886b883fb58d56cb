"""How bytes of a file are changed: flips, cuts, insertions, and values that headers are not made for."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass

from hypothesis import strategies as st

HEADER_BYTES = 512
"""Half of all changes fall into the first part of a file, where sizes and types stand."""
_ODD = tuple(
    struct.pack(form, value)
    for form, values in (
        ("<b", (0, 1, -1, 127, -128)),
        ("<h", (0, -1, 32767, -32768)),
        ("<i", (0, -1, 2**31 - 1, -(2**31))),
        ("<q", (-1, 2**63 - 1, 2**40)),
        ("<f", (0.0, -1.0, float("nan"), float("inf"), 1e-40, 3e38)),
        ("<d", (float("nan"), float("-inf"), 5e-324, 1e308)),
    )
    for value in values
)
"""What counters, sizes and lengths are not made for: ends of ranges, NaN, infinities, denormals."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a file; ``place`` and ``length`` are shares of its size."""

    kind: str
    place: float
    length: float
    content: bytes

    def __call__(self, data: bytes) -> bytes:
        """The bytes with the change made."""
        start = min(int(self.place * len(data)), len(data))
        stop = min(start + max(1, int(self.length * len(data))), len(data))
        if self.kind == "cut":
            return data[:start]
        if self.kind == "delete":
            return data[:start] + data[stop:]
        if self.kind == "double":
            return data[:stop] + data[start:]
        if self.kind == "insert":
            return data[:start] + self.content + data[start:]
        flipped = bytes(b ^ self.content[0] for b in data[start : start + 1])
        put = flipped if self.kind == "flip" else self.content
        return data[:start] + put + data[start + len(put) :]


def changes(size: int) -> st.SearchStrategy[Change]:
    """Changes of a file of about ``size`` bytes."""
    head = min(1.0, HEADER_BYTES / max(size, 1))
    places = st.one_of(st.floats(0, head), st.floats(0, 1))
    kinds = st.sampled_from(("flip", "put", "put", "insert", "delete", "double", "cut"))
    odd = st.one_of(st.sampled_from(_ODD), st.binary(min_size=1, max_size=16))
    return st.builds(Change, kinds, places, st.floats(0, 0.2), odd)


def changed(data: bytes, *, is_packed: bool = False) -> st.SearchStrategy[bytes]:
    """A file with one to four changes; of a compressed one they fall into what is packed or into the packed bytes."""

    def apply(made: list[Change], inside: bool) -> bytes:
        result = gzip.decompress(data) if inside else data
        for change in made:
            result = change(result)
        return gzip.compress(result, mtime=0) if inside else result

    inside = st.booleans() if is_packed else st.just(False)
    return st.builds(apply, st.lists(changes(len(data)), min_size=1, max_size=4), inside)


NUMBERS = st.one_of(
    st.integers(-3, 70000),
    st.sampled_from((10**400, -(10**30), 2**63)),
    st.floats(),
    st.sampled_from((0.0, -0.0, 5e-324, 1e308)),
)
TEXTS = st.one_of(
    st.sampled_from(("", "rad", "n/a", "../../x", "sub-../x", "PHASE", "\x00", "\x1b[2J", "a\nb", "ü", "NaN", "1e999")),
    st.text(max_size=12),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
"""What JSON can hold, and much that nobody expects."""
