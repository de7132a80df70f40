"""Routes of api.md §3 and §8: read the request, call one service, answer."""

from contextlib import nullcontext
from typing import ClassVar

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from msgspec import convert
from rest_framework.request import Request
from structlog.contextvars import bind_contextvars

from access.audit import Via, acting, actor_of
from miners import guesses
from miners.authentication import Session, ended, key_owners, require_live, session_read, session_standing, wrong_key
from miners.choices import CommandName
from miners.pacing import pace
from miners.parameters import MINER_ID, NAMED_MINER, PAGE, SESSION_TOKEN
from miners.profile import durable_changes, registered_profile
from miners.reports import heartbeat_report, update_report
from miners.selectors import miner_get, miner_page, page_query
from miners.serializers import (
    AttestedAnswer,
    CommandAnswer,
    CommandRequest,
    HeartbeatRequest,
    LeaseAnswer,
    ManifestAnswer,
    ManifestRequest,
    MinerAnswer,
    MinerPage,
    RegisterAnswer,
    RegisterRequest,
    TokenRequest,
    UpdateRequest,
)
from miners.services.commands import command_args, command_create
from miners.services.manifests import manifest_accept
from miners.services.registration import miner_logout, miner_register
from miners.services.telemetry import Lease, lease_renew, miner_heartbeat, miner_heartbeat_by_key, miner_update
from miners.throttle import REQUESTS_PER_S, callers
from poolhub.common import clock, ratelimit
from poolhub.common.auth import AdminSecretOrStaff
from poolhub.common.errors import HubError, MalformedJSON, TooManyRequests, UnsupportedMediaType, ValidationFailed
from poolhub.common.metrics import HEARTBEATS
from poolhub.common.network import request_address
from poolhub.common.schema import PROBLEMS, answer, body
from poolhub.common.views import HubViewSet


class EnrolmentViewSet(HubViewSet):
    @extend_schema(
        request=body(RegisterRequest),
        responses={200: answer(RegisterAnswer), 201: answer(RegisterAnswer), **PROBLEMS(401, 403, 422, 429)},
    )
    def register(self, request: Request) -> HttpResponse:
        ratelimit.check(request, group="register", rate=settings.RATELIMIT_REGISTER)
        asked = self.read(request, RegisterRequest)
        bind_contextvars(miner_id=asked.miner_id)
        profile = registered_profile(asked)
        with guesses.counted(request_address(request._request), asked.miner_id):
            done = miner_register(miner_id=asked.miner_id, api_key=asked.api_key, profile=profile, now=clock.now())
        rhythm = pace()
        told = RegisterAnswer(
            miner_id=asked.miner_id,
            session_token=done.token,
            session_ttl_sec=rhythm.lease_ttl_s,
            lease_ttl_sec=rhythm.lease_ttl_s,
            next_heartbeat_sec=rhythm.next_heartbeat_s,
        )
        return self.reply(told, status=201 if done.created else 200)


class SessionViewSet(HubViewSet):
    """What a miner calls with its session token; the HTTP heartbeat takes its api key as well."""

    asks_session = True

    @extend_schema(
        parameters=[SESSION_TOKEN],
        request=body(UpdateRequest),
        responses={200: answer(LeaseAnswer), **PROBLEMS(401, 403, 422, 429)},
    )
    def update(self, request: Request) -> HttpResponse:
        session = self.session(request)
        asked = self.read(request, UpdateRequest)
        changes, now = durable_changes(asked), clock.now()
        return self.lease(miner_update(session=session, report=update_report(asked, now=now), changes=changes))

    @extend_schema(
        parameters=[SESSION_TOKEN, NAMED_MINER],
        request=body(HeartbeatRequest),
        responses={200: answer(LeaseAnswer), **PROBLEMS(401, 403, 422, 429)},
    )
    def heartbeat(self, request: Request) -> HttpResponse:
        credential, address = self.credential(request), request_address(request._request)
        session = session_read(credential)
        if session is not None:
            self._enter(session)
        try:
            asked = self.read(request, HeartbeatRequest)
        except HubError:
            if session is None:
                with guesses.counted(address):
                    if not key_owners.known(credential):
                        raise wrong_key() from None  # a stranger is told nothing about the body
            raise
        report, changes = heartbeat_report(asked, now=clock.now()), durable_changes(asked)
        if session is not None:
            lease = miner_heartbeat(session=session, report=report, changes=changes, probed=asked.probes)
        else:
            named = asked.miner_id or request.query_params.get("miner_id")
            known = key_owners.seen(credential, named, now=report.at)
            if known is not None:
                _require_slowness(known)
            with nullcontext() if known else guesses.counted(address, named):
                lease = miner_heartbeat_by_key(
                    api_key=credential, named=named, report=report, changes=changes, probed=asked.probes
                )
        HEARTBEATS.labels(transport="http").inc()
        return self.lease(lease)

    @extend_schema(
        parameters=[SESSION_TOKEN],
        request=body(TokenRequest, required=False),
        responses={200: answer(LeaseAnswer), **PROBLEMS(401, 403, 429)},
    )
    def renew(self, request: Request) -> HttpResponse:
        return self.lease(lease_renew(session=self.session(request), now=clock.now()))

    @extend_schema(
        parameters=[SESSION_TOKEN],
        request=body(TokenRequest, required=False),
        responses={204: None, **PROBLEMS(401, 403)},
    )
    def logout(self, request: Request) -> HttpResponse:
        session = self._session(request)  # however fast it calls: it ends
        self._enter(session, may_hurry=True)
        miner_logout(session=session, now=clock.now())
        return HttpResponse(status=204)

    @extend_schema(
        parameters=[SESSION_TOKEN],
        request=body(ManifestRequest),
        responses={200: answer(ManifestAnswer), **PROBLEMS(401, 403, 422, 429)},
    )
    def manifest(self, request: Request) -> HttpResponse:
        ratelimit.check(request, group="manifest", rate=settings.RATELIMIT_REGISTER)
        session = self.session(request)
        asked = self.read(request, ManifestRequest)
        accepted = manifest_accept(session=session, token=asked.manifest, now=clock.now())
        return self.reply(
            ManifestAnswer(
                miner_id=session.miner_id,
                attested_until=clock.to_rfc3339(accepted.expires_at),
                issuer=accepted.issuer,
                jti=accepted.jti,
                values=convert(accepted.values, AttestedAnswer),
            )
        )

    def session(self, request: Request) -> Session:
        """The live session whose token came with the request; Unauthorized or Forbidden without."""
        session = self._session(request)
        self._enter(session)
        return session

    def _session(self, request: Request) -> Session:
        session = session_read(self.credential(request))
        if session is None:
            raise ended()
        return session

    def _enter(self, session: Session, *, may_hurry: bool = False) -> None:
        bind_contextvars(miner_id=session.miner_id)
        require_live(session_standing(session, now=clock.now()))
        if not may_hurry:
            _require_slowness(session.miner_id)

    def credential(self, request: Request) -> str:
        """From the header, else the query, else the body: older clients send their token there."""
        given: str = request.META.get("HTTP_AUTHORIZATION", "")
        scheme, _, token = given.partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip()
        found = request.query_params.get("session_token") or self._token_in_body(request)
        if not found:
            raise ended()
        return found

    def _token_in_body(self, request: Request) -> str | None:
        if request.method != "POST" or not request.body:
            return None
        try:
            return self.read(request, TokenRequest).session_token
        except (MalformedJSON, UnsupportedMediaType, ValidationFailed):  # no credential in what cannot be read
            return None

    def lease(self, lease: Lease) -> HttpResponse:
        rhythm = pace()
        return self.reply(
            LeaseAnswer(
                status=lease.state,
                lease_ttl_sec=rhythm.lease_ttl_s,
                next_heartbeat_sec=rhythm.next_heartbeat_s,
                lease_expires_at=clock.to_rfc3339(lease.expires_at),
            )
        )


def _require_slowness(miner_id: str) -> None:
    """A process counts for itself."""
    if not callers.take(miner_id, clock.now()):
        raise TooManyRequests(f"Over {REQUESTS_PER_S:g} requests a second of this miner.", retry_after_sec=1)


class MinerViewSet(HubViewSet):
    """What operators ask about miners, and tell them."""

    permission_classes = (AdminSecretOrStaff,)
    staff_needs: ClassVar = {"POST": "miners.add_minercommand"}

    @extend_schema(parameters=PAGE, responses={200: answer(MinerPage), **PROBLEMS(401, 403, 422)})
    def list(self, request: Request) -> HttpResponse:
        return self.reply(miner_page(page_query(request.query_params)))

    @extend_schema(parameters=[MINER_ID], responses={200: answer(MinerAnswer), **PROBLEMS(401, 403, 404)})
    def retrieve(self, request: Request, miner_id: str) -> HttpResponse:
        return self.reply(miner_get(miner_id))

    @extend_schema(
        parameters=[MINER_ID],
        request=body(CommandRequest),
        responses={201: answer(CommandAnswer), **PROBLEMS(401, 403, 404, 422)},
    )
    def command(self, request: Request, miner_id: str) -> HttpResponse:
        bind_contextvars(miner_id=miner_id)
        asked = self.read(request, CommandRequest)
        name = CommandName(asked.name)
        user = request._request.user
        with acting(actor_of(request._request, via=Via.API)):
            made = command_create(
                miner_id=miner_id,
                name=name,
                args=command_args(name, asked.args),
                author=user if user.is_authenticated else None,
            )
        return self.reply(CommandAnswer(id=str(made.id), name=made.name, args=made.args, status=made.status), 201)
