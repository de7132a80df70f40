"""One name for one GPU model, and for one region, however feeds and miners write it. Pure.

`NVIDIA GeForce RTX 4090`, `RTX 4090`, `4090` and `rtx4090` are all `4090`. What these rules get wrong, operators
correct by a table of aliases.
"""

import re

MAX_NAME = 64

NOISE = frozenset((
    "nvidia", "geforce", "amd", "ati", "radeon", "instinct", "tesla", "intel", "corporation", "corp", "inc", "graphics",
    "graphic", "gpu", "card", "accelerator", "tm", "r", "c", "rtx", "gtx", "rx", "pcie", "pcie3", "pcie4", "pcie5",
    "sxm", "sxm2", "sxm3", "sxm4", "sxm5", "oam", "hbm2", "hbm2e", "hbm3", "hbm3e", "gddr5", "gddr6", "gddr6x",
    "edition", "founders", "oc",
))  # fmt: skip
COUNT = re.compile(r"^\s*\d{1,3}\s*[x×]\s+")  # of several: "2x RTX 4090"
SPLIT = re.compile(r"[^a-z0-9.]+")
FAMILY = re.compile(r"^(?:rtx|gtx|rx)(\d.*)$")  # rtx4090
SUFFIX = re.compile(r"^(\d{3,5})(ti|super|xt|xtx|d|s)$")  # 4090ti
MEMORY = re.compile(r"^(\d+)(?:gb|gib|g)$")


def model_of(name: str) -> str:
    """The normal form; "" for a name that says nothing. The size of the memory is kept, except beside a plain number:
    an A100 has two, and they differ in price."""
    words = [each for each in SPLIT.split(COUNT.sub("", name.lower())) if each]
    words = _joined(words)
    kept: list[str] = []
    for word in words:
        bare = FAMILY.sub(r"\1", word)
        suffix = SUFFIX.match(bare)
        kept += suffix.groups() if suffix else [bare]
    named = [word for word in kept if word not in NOISE]
    if named and named[0].isdecimal():
        named = [word for word in named if not MEMORY.match(word)]
    named = [f"{found.group(1)}gb" if (found := MEMORY.match(word)) else word for word in named]
    return " ".join(named or words)[:MAX_NAME].strip()


def region_of(name: str) -> str:
    """Lower case, with hyphens."""
    return re.sub(r"[\s_]+", "-", name.strip().lower())[:MAX_NAME]


def wider(region: str) -> list[str]:
    """The region and those around it, the nearest first: eu-west-1, eu-west, eu."""
    parts = region.split("-")
    return ["-".join(parts[:count]) for count in range(len(parts), 0, -1)] if region else []


def _joined(words: list[str]) -> list[str]:
    """`80 GB` is one word."""
    result: list[str] = []
    for word in words:
        if word in ("gb", "gib") and result and result[-1].isdecimal():
            result[-1] += "gb"
        else:
            result.append(word)
    return result
