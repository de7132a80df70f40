"""The forms of issuers: what is saved is a policy that the verifier can hold to."""

import json
from typing import Any

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.forms.fields import InvalidJSONInput
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from miners import limits
from miners.manifests.claims import FIELDS, MAX_PATH, PATH
from miners.manifests.keys import ALGORITHMS, BadKeys, fits, public_keys
from miners.manifests.texts import is_safe
from miners.models import ManifestIssuer
from miners.services.issuers import BadURL, url_check
from poolhub.common.fields import MAX_NUMBER

MAX_ENTRIES = 50
MAX_WANTED = 255
LINES = UnfoldAdminTextareaWidget(attrs={"rows": 8, "spellcheck": "false"})
FEW_LINES = UnfoldAdminTextareaWidget(attrs={"rows": 4, "spellcheck": "false"})
BOUNDS = {
    "refresh_s": (limits.MIN_REFRESH_S, limits.MAX_REFRESH_S),
    "leeway_s": (0, limits.MAX_LEEWAY_S),
    "max_lifetime_s": (1, limits.MAX_LIFETIME_S),
}
FROM_FORM = (
    "name", "issuer", "enabled", "jwks", "jwks_url", "refresh_s", "algorithms", "leeway_s", "max_lifetime_s",
    "audience", "subject_claim", "subject_form", "mapping", "required",
)  # fmt: skip


class JsonField(forms.JSONField):
    def prepare_value(self, value: Any) -> Any:
        if value is None or isinstance(value, InvalidJSONInput):
            return value
        return json.dumps(value, indent=2)  # in ASCII: a half of a pair of surrogates can be shown, if not stored


class IssuerForm(forms.ModelForm):  # type: ignore[type-arg]  # takes arguments in the stubs alone
    jwks = JsonField(
        required=False, widget=LINES, label="Public keys",
        help_text='A JWK Set, {"keys": [...]}. Empty where they are fetched from an address.',
    )  # fmt: skip
    algorithms = forms.MultipleChoiceField(
        choices=[(name, name) for name in ALGORITHMS], widget=forms.CheckboxSelectMultiple,
        help_text="RFC 9864 calls Ed25519 what was EdDSA.",
    )  # fmt: skip
    mapping = JsonField(
        required=False, widget=LINES, label="What it may attest",
        help_text="For each of our names the claim: its name, /a/pointer/into/it, or # before either to count members. "
        f"Names: {', '.join(FIELDS)}. {{}}: that the miner is attested, and no value.",
    )  # fmt: skip
    required = JsonField(
        required=False, widget=FEW_LINES, label="Required claims",
        help_text='Claim and the value wanted, or a list of values of which it must have one: {"secboot": true}.',
    )  # fmt: skip

    class Meta:
        model = ManifestIssuer
        fields = FROM_FORM
        labels = {
            "issuer": "Issuer (iss)", "jwks_url": "Address of the public keys", "refresh_s": "Fetch them every, s",
            "leeway_s": "Difference of clocks, s", "max_lifetime_s": "Longest life of a manifest, s",
            "audience": "Audience (aud)", "subject_claim": "Claim that names the miner", "subject_form": "And how",
        }  # fmt: skip
        help_texts = {
            "issuer": "As its manifests have it, letter by letter.",
            "jwks_url": "https. Fetched by the worker, or by a hub of one process itself.",
            "audience": "What its manifests have there for this hub. Empty: they have none.",
            "enabled": "One that is not vouches for nothing new. What it has attested stays: see the action.",
        }  # fmt: skip

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name in BOUNDS.keys() & self.fields.keys():  # a page that is only looked at has none
            low, high = BOUNDS[name]
            self.fields[name].validators += [MinValueValidator(low), MaxValueValidator(high)]
        if self.instance.jwks_url or not self.instance.jwks:
            self.initial["jwks"] = None  # what was fetched is not the operator's to edit

    def clean_jwks(self) -> dict[str, Any] | None:
        given = self.cleaned_data["jwks"]
        if given is None:
            return None
        try:
            return {"keys": public_keys(given)}
        except BadKeys as error:
            raise forms.ValidationError(str(error)) from error

    def clean_jwks_url(self) -> str:
        url: str = self.cleaned_data["jwks_url"]
        try:
            if url:
                url_check(url)
        except BadURL as error:
            raise forms.ValidationError(str(error)) from error
        return url

    def clean_subject_claim(self) -> str:
        path: str = self.cleaned_data["subject_claim"]
        if not PATH.fullmatch(path) or path.startswith("#"):
            raise forms.ValidationError("It must be the name of a claim, or a pointer that begins with /.")
        return path

    def clean_mapping(self) -> dict[str, str]:
        given = {} if self.cleaned_data["mapping"] is None else self.cleaned_data["mapping"]
        if not isinstance(given, dict) or not all(name in FIELDS and _is_path(path) for name, path in given.items()):
            raise forms.ValidationError(f"It must be an object of our names ({', '.join(FIELDS)}) and paths of claims.")
        return given

    def clean_required(self) -> dict[str, Any]:
        given = {} if self.cleaned_data["required"] is None else self.cleaned_data["required"]
        if not isinstance(given, dict) or len(given) > MAX_ENTRIES:
            raise forms.ValidationError(f"It must be an object of at most {MAX_ENTRIES} claims.")
        if not all(_is_path(path) and _is_wanted(value) for path, value in given.items()):
            raise forms.ValidationError(
                "Each must be the path of a claim, and a text, a number, true, false, or a list of such."
            )
        return given

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        for name in ("name", "issuer", "audience", "subject_claim"):
            if not is_safe(self.cleaned_data.get(name, "")):
                self.add_error(name, "Control and direction characters are not allowed.")
        if not self.errors:
            self._clean_keys()
        return cleaned

    def _clean_keys(self) -> None:
        """Either pasted or fetched. Those that an issuer had stay until the first fetch has gone well."""
        given, url = self.cleaned_data["jwks"], self.cleaned_data["jwks_url"]
        if bool(given) is bool(url):
            self.add_error("jwks", "Give either the keys or their address.")
        elif given and not any(fits(key, name) for key in given["keys"] for name in self.cleaned_data["algorithms"]):
            self.add_error("algorithms", "None of the keys is one for these.")
        elif not given:
            self.cleaned_data["jwks"] = self.instance.jwks


class TokenForm(forms.Form):
    """A manifest to try, which changes nothing."""

    miner_id = forms.CharField(max_length=64, label="For the miner", widget=UnfoldAdminTextInputWidget)
    token = forms.CharField(
        max_length=100_000, label="Manifest", strip=True, widget=UnfoldAdminTextareaWidget(attrs={"rows": 6})
    )


def _is_path(path: object) -> bool:
    return isinstance(path, str) and len(path) <= MAX_PATH and bool(PATH.fullmatch(path)) and is_safe(path)


def _is_wanted(value: object) -> bool:
    if isinstance(value, list):
        return 0 < len(value) <= MAX_ENTRIES and all(map(_is_one_value, value))
    return _is_one_value(value)


def _is_one_value(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_WANTED and is_safe(value)
    return isinstance(value, bool | int | float) and abs(value) <= MAX_NUMBER  # nan is not
