"""Why a manifest is refused; docs/manifests.md has a row for each."""

from enum import StrEnum


class Reason(StrEnum):
    TOO_LONG = "too_long"
    MALFORMED = "malformed"
    REPEATED_NAME = "repeated_name"
    UNSUPPORTED_HEADER = "unsupported_header"
    WRONG_ALGORITHM = "wrong_algorithm"
    MISSING_CLAIM = "missing_claim"
    INVALID_CLAIM = "invalid_claim"
    UNKNOWN_ISSUER = "unknown_issuer"
    UNKNOWN_KEY = "unknown_key"
    AMBIGUOUS_KEY = "ambiguous_key"
    UNFIT_KEY = "unfit_key"
    BAD_SIGNATURE = "bad_signature"
    FOREIGN_SUBJECT = "foreign_subject"
    FOREIGN_AUDIENCE = "foreign_audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    LIFETIME_TOO_LONG = "lifetime_too_long"
    UNMET_REQUIREMENT = "unmet_requirement"
    NO_VALUES = "no_values"
    INVALID_VALUE = "invalid_value"
    # what one token cannot tell
    REPLAYED = "replayed"
    REVOKED = "revoked"
    OLDER = "older"


class Refused(Exception):
    """Of the manifest, for this reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(detail)
