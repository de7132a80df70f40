"""Forms of the miners' pages. Each checks what can be checked while the operator looks on; the services decide."""

from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from access.audit import MAX_REASON
from miners.choices import CommandName
from miners.models import Miner, MinerCommand, RoundTrip
from miners.regions.table import require_round_trip
from miners.services.commands import command_args
from miners.tokens import PLACES
from poolhub.common.admin import add_refusal
from poolhub.common.errors import HubError
from poolhub.common.fields import MAX_PRICE


def price_field(**options: Any) -> forms.DecimalField:
    return forms.DecimalField(
        min_value=0,
        max_value=MAX_PRICE,
        max_digits=len(str(MAX_PRICE)) + PLACES,
        decimal_places=PLACES,
        widget=UnfoldAdminDecimalFieldWidget,
        **{"help_text": "Tokens per 1,000 s of compute.", **options},
    )


class TagLines(forms.Field):
    """A list of texts, one a line."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 6})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:
        if isinstance(value, list):
            return value
        return [line for line in (value or "").replace("\r\n", "\n").split("\n") if line]


class MinerForm(forms.ModelForm):  # type: ignore[type-arg]  # takes arguments in the stubs alone
    """What an operator decides of a miner.

    The page carries along what it showed, so that only what this operator changed is done: a field that another one
    changed meanwhile stays as it is.
    """

    price_cap = price_field(required=False, help_text="Tokens per 1,000 s of compute. Empty: no cap.")
    tags = TagLines(
        required=False, help_text="One a line. The miner is told, and may claim others when it registers again."
    )
    reason = forms.CharField(
        required=False,
        max_length=MAX_REASON,
        widget=UnfoldAdminTextInputWidget,
        help_text="Kept in the log of changes.",
    )

    class Meta:
        model = Miner
        fields = ("miner_id", "disabled", "operator_drain", "price_cap", "tags")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.instance.pk is not None:
            for name, field in self.fields.items():
                field.show_hidden_initial = not self.is_bound or self.add_initial_prefix(name) in self.data

    def clean_tags(self) -> list[str]:
        tags: list[str] = self.cleaned_data["tags"]
        try:
            command_args(CommandName.UPDATE_TAGS, {"tags": tags})
        except HubError as error:
            raise forms.ValidationError(error.detail) from error
        return tags


class MinerCommandForm(forms.ModelForm):  # type: ignore[type-arg]  # takes arguments in the stubs alone
    tags = TagLines(required=False, help_text="Of update_tags: one a line, in place of those it has. Empty: none.")
    price = price_field(
        required=False, help_text="Of set_price_cap, in tokens per 1,000 s of compute. Empty: lifts the cap."
    )

    class Meta:
        model = MinerCommand
        fields = ("miner", "name")

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        name, tags, price = (self.cleaned_data.get(each) for each in ("name", "tags", "price"))
        if tags and name != CommandName.UPDATE_TAGS:
            self.add_error("tags", "Only update_tags takes tags.")
        if price is not None and name != CommandName.SET_PRICE_CAP:
            self.add_error("price", "Only set_price_cap takes a price.")
        if name and not self.errors:
            try:
                command_args(CommandName(name), self.asked())
            except HubError as error:
                add_refusal(self, error)
        return cleaned

    def asked(self) -> dict[str, Any]:
        """The arguments, as the API takes them."""
        name, price = self.cleaned_data["name"], self.cleaned_data["price"]
        if name == CommandName.UPDATE_TAGS:
            return {"tags": self.cleaned_data["tags"]}
        return {"price": price} if name == CommandName.SET_PRICE_CAP and price is not None else {}


class RoundTripForm(forms.ModelForm):  # type: ignore[type-arg]  # takes arguments in the stubs alone
    class Meta:
        model = RoundTrip
        fields = ("region", "other", "operator_ms")

    def clean(self) -> dict[str, Any]:
        """Before the database's own constraints, whose words say little."""
        given = {
            name: self.cleaned_data.get(name, getattr(self.instance, name))
            for name in ("region", "other", "operator_ms")
        }
        try:
            require_round_trip(**given)
        except HubError as error:
            add_refusal(self, error)
        return self.cleaned_data
