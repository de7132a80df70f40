"""What a miner says of itself, brought into the one form that is stored; pure.

Raises ValidationFailed, one error a field.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import chain

from miners import limits
from miners.serializers import HeartbeatRequest, RegisterRequest, TagValue, UpdateRequest
from poolhub.common import fields
from poolhub.common.errors import FieldError, ValidationFailed
from poolhub.common.fields import price_units

UNSAFE = re.compile(f"[{fields.UNSAFE}]")
UNKNOWN = "unknown"


def registered_profile(request: RegisterRequest) -> dict[str, object]:
    """The whole profile of a registration, by the fields of Miner."""
    tags, errors = tag_list(request.tags)
    price = request.price_token_per_ksec if request.price_token_per_ksec is not None else request.base_price
    vram = request.gpu_vram if request.gpu_vram is not None else request.gpu_vram_gb
    capabilities = unique(request.capabilities)
    accel = known_accelerators(tags, capabilities) if request.accel is None else unique(request.accel)
    profile: dict[str, object] = {
        "addr": request.addr,
        "proto": request.proto,
        "gpu_name": request.gpu_name,
        "gpu_vram": vram or 0.0,
        "gpu_count": request.gpu_count,
        "cpu_cores": request.cpu_cores,
        "ram_gb": request.ram_gb,
        "price": exact(price or Decimal(0)),
        "max_parallel": request.max_parallel,
        "region": request.region,
        "accel": accel,
        "tags": tags,
        "capabilities": capabilities,
        "wallet_address": request.wallet_address,
    }
    refuse(errors + unsafe_texts(profile))
    return profile


def durable_changes(request: UpdateRequest | HeartbeatRequest) -> dict[str, object]:
    """What an update names of the profile, by the fields of Miner; empty for one that is live data alone."""
    changes: dict[str, object] = {}
    errors: list[FieldError] = []
    if request.price_token_per_ksec is not None:
        changes["price"] = exact(request.price_token_per_ksec)
    if request.tags is not None:
        changes["tags"], errors = tag_list(request.tags)
    if request.capabilities is not None:
        changes["capabilities"] = unique(request.capabilities)
    if request.draining is not None:
        changes["draining"] = request.draining
    refuse(errors + unsafe_texts(changes))
    return changes


def tag_list(tags: Sequence[str] | Mapping[str, TagValue]) -> tuple[list[str], list[FieldError]]:
    """Tags as a list without repeats; an object's items become `key=value`, at most as long as a tag may be."""
    if not isinstance(tags, Mapping):
        return unique(tags), []
    made = {key: f"{key}={tag_value(value)}" for key, value in tags.items() if value is not None}
    errors = [
        FieldError(f"tags.{key}", "too_long", f"the tag {key}=… has more than {limits.MAX_TAG} characters")
        for key, tag in made.items()
        if len(tag) > limits.MAX_TAG
    ]
    return unique(made.values()), errors[:1]


def tag_value(value: TagValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def known_accelerators(tags: Iterable[str], capabilities: Iterable[str]) -> list[str]:
    """Every accelerator that a tag or capability names, as a whole or as the k of a tag `k=v` whose v is known."""
    named = (key for key, _, value in (tag.partition("=") for tag in tags) if value != UNKNOWN)
    return unique(name for name in chain(named, capabilities) if name in limits.ACCELERATORS)


def exact(price: Decimal) -> Decimal:
    """Rounded to the 8 places that are kept."""
    return Decimal(price_units(price)).scaleb(-8)


def unique(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))


def unsafe_texts(profile: Mapping[str, object], *, path: str = "") -> list[FieldError]:
    """One error for each text, or list of texts, that holds a character nobody can see."""
    errors = []
    for name, value in profile.items():
        texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        at = next((i for i, text in enumerate(texts) if UNSAFE.search(text)), None)
        if at is not None:
            field = path + (name if isinstance(value, str) else f"{name}[{at}]")
            errors.append(FieldError(field, "invalid_character", "control and direction characters are not allowed"))
    return errors


def refuse(errors: Sequence[FieldError]) -> None:
    if errors:
        raise ValidationFailed(errors=errors)
