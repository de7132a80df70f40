"""Standard Webhooks: a signed POST to SETTLEMENT_URL. The same event has the same id and body at each attempt."""

from collections.abc import Iterator, Sequence
from http import HTTPStatus

from standardwebhooks.webhooks import Webhook

from poolhub.common import clock, outbound
from settlement.backends.base import Delivered, Ended, Failed, Gone, Result
from settlement.models import SettlementEvent

MAX_ANSWER_BYTES = 16_384  # nobody reads it


class WebhookBackend:
    def __init__(self, url: str, secrets: Sequence[str], *, limit_s: float, parallel: int) -> None:
        """Signed with each secret, so that a receiver which knows one of them can verify it."""
        self.target = url
        self.limit_s = limit_s
        self.parallel = parallel
        self._signers = [Webhook(secret) for secret in secrets]
        self._client = outbound.Client(connections=parallel)

    def deliver(self, event: SettlementEvent) -> Result:
        try:
            answer = self._client.request(
                "POST",
                self.target,
                limit_s=self.limit_s,
                max_bytes=MAX_ANSWER_BYTES,
                headers=self.headers(event),
                content=event.body.encode(),
            )
        except outbound.OutboundError as error:
            return Failed(str(error))
        if 200 <= answer.status < 300:
            return Delivered()
        if answer.status == HTTPStatus.GONE:
            return Gone("the receiver answered 410")
        if 300 <= answer.status < 400:
            return Failed(f"the receiver answered {answer.status}: redirects are not followed")
        return Failed(f"the receiver answered {answer.status}", _retry_after_s(answer.headers.get("Retry-After")))

    def headers(self, event: SettlementEvent) -> dict[str, str]:
        at = clock.to_datetime(clock.now())
        signatures = [signer.sign(event.public_id, at, event.body) for signer in self._signers]
        return {
            "Content-Type": "application/json",
            "webhook-id": event.public_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signatures),
        }

    def follow(self) -> Sequence[Ended]:
        return ()  # an answer is the end of it

    def gone(self) -> Iterator[SettlementEvent]:
        return iter(())  # a receiver is not asked

    def close(self) -> None:
        self._client.close()


def _retry_after_s(text: str | None) -> float:
    """Seconds; 0 where it says none, or a date."""
    return float(text) if text and text.isascii() and text.isdecimal() and len(text) < 8 else 0.0
