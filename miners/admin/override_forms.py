"""Forms of price overrides, which show what an override would overlap with before it is set.

The page carries along which ones it has shown (`seen`); another one that has come since is shown in its turn. The
service asks once more, with the miner's row locked.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSplitDateTimeWidget, UnfoldAdminTextInputWidget

from access.audit import MAX_REASON
from miners.admin.forms import price_field
from miners.admin.override_lines import override_lines
from miners.models import PriceOverride
from miners.standing import overlapping, unseen
from poolhub.common import clock

MAX_SHOWN = 20
SOME_PK = re.compile(r"[0-9]{1,18}\Z")
TOLD = "It overlaps with {number}, as listed above. To set it all the same, send it again."


class OverrideForm(forms.ModelForm):  # type: ignore[type-arg]  # takes arguments in the stubs alone
    """An override of any number of miners. Once it is cleaned, `conflicts` holds what it would overlap with."""

    price = price_field()
    reason = forms.CharField(required=False, max_length=MAX_REASON, widget=UnfoldAdminTextInputWidget)
    valid_from = forms.SplitDateTimeField(
        required=False, widget=UnfoldAdminSplitDateTimeWidget, help_text="UTC. Empty: now."
    )
    valid_until = forms.SplitDateTimeField(
        required=False, widget=UnfoldAdminSplitDateTimeWidget, help_text="UTC. Empty: until somebody ends it."
    )
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    miner_pks: Collection[int] = ()
    deciding = True  # False: a preview, which only lists them
    conflicts: list[PriceOverride]

    class Meta:
        model = PriceOverride
        fields: tuple[str, ...] = ("price", "reason", "valid_from", "valid_until")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conflicts = []

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        starts = self.cleaned_data.get("valid_from") or clock.to_datetime(clock.now())
        ends = self.cleaned_data.get("valid_until")
        if ends is not None and ends <= starts:
            self.add_error("valid_until", "An override ends after it begins, and after now.")
        if not self.errors:
            self._look_for_conflicts()
        return cleaned

    def seen_pks(self) -> set[int]:
        return seen_pks(self.cleaned_data["seen"])

    def about(self) -> Collection[int]:
        """The miners that it would be set for."""
        return self.miner_pks

    def _look_for_conflicts(self) -> None:
        given = self.cleaned_data
        found = overlapping(self.about(), starts=given["valid_from"], ends=given["valid_until"])
        self.conflicts = list(found.select_related("miner", "author"))
        others = unseen(self.conflicts, self.seen_pks())
        if others and self.deciding:
            number = "another override" if len(others) == 1 else f"{len(others)} other overrides"
            self.add_error(None, TOLD.format(number=number))
        # what the page shows now is seen when it comes back
        self.data = {**_flat(self.data), "seen": ",".join(str(each.pk) for each in self.conflicts)}


class PriceOverrideForm(OverrideForm):
    class Meta(OverrideForm.Meta):
        fields = ("miner", *OverrideForm.Meta.fields)

    def about(self) -> Collection[int]:
        return [self.cleaned_data["miner"].pk]


def seen_pks(sent: str) -> set[int]:
    return {int(pk) for pk in sent.split(",") if SOME_PK.match(pk)}


def _flat(sent: Mapping[str, Any]) -> dict[str, Any]:
    return {name: sent[name] for name in sent}


def override_of(form: OverrideForm) -> dict[str, Any]:
    """What the service takes."""
    return {name: form.cleaned_data[name] for name in OverrideForm.Meta.fields}


def conflicts_shown(form: OverrideForm) -> dict[str, Any]:
    """For conflicts.html."""
    return {"conflicts": override_lines(form.conflicts[:MAX_SHOWN], clock.now()), "number": len(form.conflicts)}
