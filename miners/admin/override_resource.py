"""What a file of price overrides is to the database: rows out of it, and rows that are set by the service.

An import is one transaction: all of its rows are set, or none. A dry run does the same, and is rolled back; so what it
shows is what the service said. A row that is there already, in every field, is passed over: an import twice is one.
"""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from import_export import fields, resources
from import_export.results import RowResult

from access.audit import MAX_REASON
from miners.admin.forms import price_field
from miners.admin.override_files import COLUMNS, header_faults
from miners.admin.shared import tokens_text, too_many_rows
from miners.limits import MAX_MINER_ID
from miners.models import Miner, PriceOverride
from miners.profile import exact
from miners.services.operators import price_override_create
from miners.standing import overlaps, standing_of
from poolhub.common import clock
from poolhub.common.errors import HubError

MAX_ROWS = 2000
MAX_NAMED = 3  # overlaps that a row names
TOLD = ("author", "created_at", "standing")  # exported, and ignored when they come back

Given = dict[str, Any]


class RowForm(forms.Form):
    miner_id = forms.CharField(max_length=MAX_MINER_ID)
    price = price_field()
    reason = forms.CharField(max_length=MAX_REASON, required=False, strip=False)
    valid_from = forms.DateTimeField(required=False)
    valid_until = forms.DateTimeField(required=False)


class OverrideResource(resources.ModelResource):  # type: ignore[misc]  # the library has no types
    miner_id = fields.Field(attribute="miner__miner_id", column_name="miner_id")
    author = fields.Field(column_name="author")
    standing = fields.Field(column_name="standing")

    class Meta:
        model = PriceOverride
        fields = export_order = (*COLUMNS, *TOLD)
        name = "price overrides"
        use_transactions = True
        skip_diff = True

    def __init__(
        self, author: User | None = None, seen: Collection[int] | None = None, conflicts: set[int] | None = None
    ) -> None:
        """seen: those that were shown, None in a dry run, which puts what it finds into conflicts."""
        super().__init__()
        self._author, self._seen = author, seen
        self._conflicts: set[int] = set() if conflicts is None else conflicts
        self._miners: dict[str, Miner] = {}
        self._others: dict[str, list[PriceOverride]] = {}  # by miner; with those of this file
        self._made: set[int] = set()
        self._faulty = False  # as a whole, so that no row is looked at

    # ---- out

    def dehydrate_price(self, override: PriceOverride) -> str:
        return tokens_text(override.price)

    def dehydrate_valid_from(self, override: PriceOverride) -> str:
        return _time(override.valid_from)

    def dehydrate_valid_until(self, override: PriceOverride) -> str:
        return _time(override.valid_until)

    def dehydrate_created_at(self, override: PriceOverride) -> str:
        return _time(override.created_at)

    def dehydrate_author(self, override: PriceOverride) -> str:
        return "" if override.author is None else override.author.get_username()

    def dehydrate_standing(self, override: PriceOverride) -> str:
        return standing_of(override, clock.now(), hidden=getattr(override, "hidden", False)).value

    # ---- in

    def get_diff_headers(self) -> list[str]:
        return [*COLUMNS, "note"]

    def before_import(self, dataset: Any, **options: Any) -> None:
        faults = header_faults(dataset.headers, (*COLUMNS, *TOLD))
        if len(dataset) > MAX_ROWS:
            faults.append(too_many_rows(len(dataset), MAX_ROWS))
        self._faulty = bool(faults)
        if faults:
            raise ValidationError(faults)
        names = {str(name) for name in dataset["miner_id"] if "\x00" not in str(name)}
        # in one order for everybody, so that two imports never wait for each other
        miners = Miner.objects.select_for_update().filter(miner_id__in=names).order_by("pk")
        self._miners = {miner.miner_id: miner for miner in miners}
        self._others = {name: [] for name in self._miners}
        for other in PriceOverride.objects.filter(miner__in=self._miners.values()).select_related("miner"):
            self._others[other.miner.miner_id].append(other)

    def import_row(self, row: Any, instance_loader: Any, **options: Any) -> RowResult:
        result = RowResult()
        if self._faulty:
            result.import_type = RowResult.IMPORT_TYPE_SKIP
            return result
        try:
            given = self._read(row)
            if any(_same(given, other) for other in self._others[given["miner_id"]]):
                result.import_type, note = RowResult.IMPORT_TYPE_SKIP, "It is there already."
            else:
                note = self._set(given)
                result.import_type = RowResult.IMPORT_TYPE_NEW
        except ValidationError as error:
            result.import_type, result.validation_error = RowResult.IMPORT_TYPE_INVALID, error
        else:
            result.diff = [*(_shown(given[name]) for name in COLUMNS), note]
        return result

    def _read(self, row: Any) -> Given:
        form = RowForm({name: "" if row.get(name) is None else str(row[name]) for name in COLUMNS})
        if not form.is_valid():
            raise ValidationError({name: list(errors) for name, errors in form.errors.items()})
        if form.cleaned_data["miner_id"] not in self._miners:
            raise ValidationError({"miner_id": ["There is no such miner."]})
        return {**form.cleaned_data, "price": exact(form.cleaned_data["price"])}

    def _set(self, given: Given) -> str:
        """The override, as the service sets it; what there is to say of it."""
        miner_id = given["miner_id"]
        window = {"starts": given["valid_from"], "ends": given["valid_until"]}
        others = [each for each in self._others[miner_id] if overlaps(each, **window)]
        seen = None if self._seen is None else {*self._seen, *self._made}
        try:
            made = price_override_create(author=self._author, seen=seen, **given)
        except HubError as error:
            raise _refused(error) from error
        self._conflicts |= {each.pk for each in others if each.pk not in self._made}
        self._made.add(made.pk)
        self._others[miner_id].append(made)
        named = ", ".join(tokens_text(each.price) for each in others[:MAX_NAMED])
        more = f" and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
        return f"Overlaps with {named}{more}, and hides it." if others else ""


def _refused(error: HubError) -> ValidationError:
    told = {each.field: [each.detail] for each in error.errors}
    return ValidationError(told or {"__all__": [error.detail]})


def _same(given: Given, other: PriceOverride) -> bool:
    """Without a beginning it begins now, which no other does."""
    return all(getattr(other, name) == given[name] for name in COLUMNS if name != "miner_id")


def _time(at: datetime | None) -> str:
    """To the microsecond, so that it is the same when it comes back."""
    return "" if at is None else at.isoformat().replace("+00:00", "Z")


def _shown(value: Any) -> str:
    if isinstance(value, datetime):
        return _time(value)
    return tokens_text(value) if isinstance(value, Decimal) else "" if value is None else str(value)
