"""What operators decide about names and units. Each change makes the medians anew."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Model

from access.audit import change_record
from market.models import GpuAlias, PriceFeed, PriceUnit
from market.names import model_of
from market.services.medians import medians_rebuild
from poolhub.common import clock
from poolhub.common.errors import Conflict, FieldError, ValidationFailed

UNIT = ("name", "tokens", "seconds")
MAX_TOKENS = Decimal(10**6)


def alias_save(*, name: str, model: str, pk: int | None = None) -> GpuAlias:
    """name is that model from now on; both are taken in their normal form."""
    name, model = model_of(name), model_of(model)
    errors = [
        FieldError(field, "invalid_value", "it says nothing")
        for field, value in (("name", name), ("model", model))
        if not value
    ]
    if not errors and name == model:
        errors = [FieldError("model", "invalid_value", f"both are {name} already")]
    if not errors and GpuAlias.objects.exclude(pk=pk or 0).filter(name=name).exists():
        raise Conflict(f"there is an alias for {name} already")
    if errors:
        raise ValidationFailed(errors=errors)
    with transaction.atomic():
        before = _values(GpuAlias.objects.filter(pk=pk or 0).first(), ("name", "model"))
        alias = GpuAlias(pk=pk, name=name, model=model)
        alias.save()
        change_record(
            action="changed" if before else "added", obj=alias, before=before, after={"name": name, "model": model}
        )
        _read_anew()
    return alias


def alias_remove(alias: GpuAlias) -> None:
    with transaction.atomic():
        change_record(action="removed", obj=alias, before=_values(alias, ("name", "model")), after={})
        alias.delete()
        _read_anew()


def unit_save(*, name: str, tokens: Decimal, seconds: int, pk: int | None = None) -> PriceUnit:
    name = name.strip().lower()
    if not name or not name.isprintable() or len(name) > 32:
        raise ValidationFailed(errors=[FieldError("name", "invalid_value", "a word such as usd/hour")])
    if not (tokens.is_finite() and 0 < tokens <= MAX_TOKENS) or not 0 < seconds <= 10**9:
        raise ValidationFailed(
            errors=[FieldError("tokens", "out_of_range", f"above 0, at most {MAX_TOKENS}; seconds from 1")]
        )
    if PriceUnit.objects.exclude(pk=pk or 0).filter(name=name).exists():
        raise Conflict(f"there is a unit {name} already")
    with transaction.atomic():
        before = _values(PriceUnit.objects.filter(pk=pk or 0).first(), UNIT)
        unit = PriceUnit(pk=pk, name=name, tokens=tokens, seconds=seconds)
        unit.save()
        change_record(action="changed" if before else "added", obj=unit, before=before, after=_values(unit, UNIT))
        _read_anew()
    return unit


def unit_remove(unit: PriceUnit) -> None:
    with transaction.atomic():
        change_record(action="removed", obj=unit, before=_values(unit, UNIT), after={})
        unit.delete()
        _read_anew()


def _values(obj: Model | None, names: Sequence[str]) -> dict[str, Any]:
    return {} if obj is None else {name: getattr(obj, name) for name in names}


def _read_anew() -> None:
    """What feeds have said is read once more as soon as may be; meanwhile names follow the aliases there are."""
    at = clock.to_datetime(clock.now())
    PriceFeed.objects.update(etag="", last_modified="", digest="", next_at=at)
    medians_rebuild()
