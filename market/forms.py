import re
from typing import Any

from django import forms

from market.feeds import is_url
from market.mapping import BadFeed, compiled
from market.models import MAX_INTERVAL_S, MIN_INTERVAL_S, PriceFeed

HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]{1,100})\s*:\s*([\x20-\x7e]{1,2000})")
MAX_HEADERS = 20
RESERVED = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "if-none-match", "if-modified-since"}
)

HELP = {
    "source": "A URL that answers JSON, or a file below MARKET_FEED_DIR.",
    "interval_s": f"Seconds from one look to the next, {MIN_INTERVAL_S} to {MAX_INTERVAL_S}.",
    "rows_path": "Gives the list of prices; empty: the document is the list. Example: data.offers",
    "model_path": "Of each row: the GPU's name. Example: gpu.name",
    "region_path": "Of each row: the region; empty: none. Example: geo",
    "price_path": "Of each row: the price. Example: dph",
    "unit_path": "Of each row, or fixed in quotes: the name of a price unit. Example: 'usd/hour'",
    "as_of_path": "Of each row: RFC 3339, or seconds since 1970; empty: when it was read. Example: updated_at",
}
HEADERS_HELP = (
    "“Name: value”, one a line. They are kept, and shown by their names alone. Empty: they stay as they are."
    " A single -: none."
)
PATHS = tuple(name for name in HELP if name.endswith("_path"))


class PriceFeedForm(forms.ModelForm):  # type: ignore[type-arg]  # takes arguments in the stubs alone
    new_headers = forms.CharField(
        label="headers",
        required=False,
        strip=True,
        widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off"}),
        help_text=HEADERS_HELP,
    )

    class Meta:
        model = PriceFeed
        fields = ("name", "enabled", "source", "interval_s", *PATHS)
        help_texts = HELP

    def clean_source(self) -> str:
        text: str = self.cleaned_data["source"]
        if is_url(text) and not text.isascii():
            raise forms.ValidationError("A URL is written in ASCII.")
        if "://" in text and not is_url(text):
            raise forms.ValidationError("A URL begins with http:// or https://.")
        return text

    def clean_new_headers(self) -> dict[str, str] | None:
        """None: as they are."""
        text: str = self.cleaned_data["new_headers"]
        if text in ("", "-"):
            return {} if text else None
        found: dict[str, str] = {}
        for number, line in enumerate(filter(None, map(str.strip, text.splitlines())), 1):
            match = HEADER.fullmatch(line)
            if match is None or match[1].lower() in RESERVED:
                raise forms.ValidationError(f"Line {number} is no header that can be sent.")  # the line may hold a key
            found[match[1]] = match[2]
        if len(found) > MAX_HEADERS:
            raise forms.ValidationError(f"At most {MAX_HEADERS} headers.")
        return found

    def clean(self) -> Any:
        cleaned = super().clean() or {}
        for name in PATHS:
            try:
                if cleaned.get(name):
                    compiled(cleaned[name])
            except BadFeed as error:
                self.add_error(name, str(error))
        if cleaned.get("new_headers") is not None:
            self.instance.headers = cleaned["new_headers"]
        return cleaned
