"""Matches that spill over: where the region may be another one and too few are eligible here, peer hubs are asked.

A question that comes from a hub is not asked on, so no question goes round. A peer answers as it would to any
coordinator, and holds a slot of its own first candidate; but it reserves nothing, for a reservation is of the hub that
made it. How many were considered, eligible and rejected are this hub's own counts; `peers` tells those of the others.
"""

from collections.abc import Mapping, Sequence

from django.conf import settings
from msgspec import UNSET, Raw, structs

from matching.peers.asking import Reply, peers
from matching.serializers import CandidateAnswer, MatchAnswer, MatchRequest, PeerAnswer
from matching.services import match_batch, match_find
from poolhub.common import codec
from poolhub.common.errors import HubError


def match_anywhere(*, request: MatchRequest, hopped: bool) -> MatchAnswer:
    """As match_find; hopped = the question comes from another hub."""
    answer = match_find(request=request)
    if spills(request, answer, hopped=hopped):
        return _spilled([(request, answer)])[0]
    return answer


def batch_anywhere(*, requests: Sequence[Raw], hopped: bool) -> list[MatchAnswer | HubError]:
    """As match_batch; each peer is asked once for all that spill over."""
    answers = match_batch(requests=requests)
    if hopped or not settings.PEER_HUBS:
        return answers
    spilling: dict[int, tuple[MatchRequest, MatchAnswer]] = {}
    for number, answer in enumerate(answers):
        if isinstance(answer, MatchAnswer):
            request = codec.decode(bytes(requests[number]), MatchRequest)
            if spills(request, answer, hopped=hopped):
                spilling[number] = request, answer
    if spilling:
        for number, spilled in zip(spilling, _spilled(list(spilling.values())), strict=True):
            answers[number] = spilled
    return answers


def spills(request: MatchRequest, answer: MatchAnswer, *, hopped: bool) -> bool:
    if hopped or not settings.PEER_HUBS or request.hints is None or not request.hints.spillover:
        return False
    return answer.eligible < (request.top_k or 1)


def _spilled(spilling: Sequence[tuple[MatchRequest, MatchAnswer]]) -> list[MatchAnswer]:
    asked = peers()
    assert asked is not None, "nothing spills over without peers"
    questions = [structs.replace(request, reserve=None, reservation_ttl_ms=None) for request, _ in spilling]
    replies = asked.ask(questions, deadline_s=settings.PEER_DEADLINE_MS / 1000)
    return [
        merged(answer, {name: _part(reply, number) for name, reply in replies.items()}, top_k=request.top_k or 1)
        for number, (request, answer) in enumerate(spilling)
    ]


Part = tuple[PeerAnswer, MatchAnswer | None]


def _part(reply: Reply, number: int) -> Part:
    found = reply.answers[number] if reply.answers else None
    if found is None:
        status = "refused" if reply.outcome == "ok" else reply.outcome
        return PeerAnswer(status, reply.took_ms), None
    return PeerAnswer("ok", reply.took_ms, found.eligible, found.considered), found


def merged(answer: MatchAnswer, parts: Mapping[str, Part], *, top_k: int) -> MatchAnswer:
    """The answer with the candidates of all hubs in the contract's order, a reserved one first.

    It is a new one: what this hub's own part was stays as its job history has it.
    """
    candidates = [_of(each, settings.HUB_NAME) for each in answer.candidates]
    first = candidates[:1] if answer.reservation is not UNSET else []
    others = candidates[len(first) :]
    for name, (_, found) in parts.items():
        others += [_of(each, name) for each in (found.candidates if found else [])]
    others.sort(key=lambda each: (-each.score, each.price, each.miner_id, each.hub))
    candidates = [*first, *others][:top_k]
    return structs.replace(
        answer,
        candidates=candidates,
        explain=candidates[0].explain if candidates else answer.explain,
        peers={name: told for name, (told, _) in parts.items()},
    )


def _of(candidate: CandidateAnswer, hub: str) -> CandidateAnswer:
    return structs.replace(candidate, hub=hub)
