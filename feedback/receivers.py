"""Who else has a part in the transaction of a new feedback.

Promises: each receiver is called once for every feedback that was taken, in its transaction and with the miner's row
locked, so that feedback of one miner comes to it in one order; what it raises undoes the feedback. A repeat calls
nobody. An app registers at its ready().
"""

from collections.abc import Callable
from dataclasses import dataclass

from feedback.models import Feedback
from miners.models import Miner


@dataclass(frozen=True, slots=True)
class NewFeedback:
    feedback: Feedback
    miner: Miner  # locked, as it is after the feedback


Receiver = Callable[[NewFeedback], object]

_receivers: dict[str, Receiver] = {}


def receive(name: str, receiver: Receiver) -> None:
    """A second receiver of the same name takes its place."""
    _receivers[name] = receiver


def tell(new: NewFeedback) -> None:
    for receiver in _receivers.values():
        receiver(new)
