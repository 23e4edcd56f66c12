"""AdminService's calls about models: messages in, messages out."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from google.rpc import error_details_pb2

from quote_expiry.v1 import admin_service_pb2 as admin
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.model.curve import CurveModel
from quotelife.model.lineup import BASIS_POINTS, POSTURES, is_digest
from quotelife.model.promotion import REASON_CHARACTERS_MAX, VERDICT_BYTES_MAX
from quotelife.model.registry import (
    CANARY,
    CONFIGURATION,
    PROMOTION,
    ROLLBACK,
    Entry,
    Failure,
    HalfWritten,
    all_or,
)
from quotelife.records import ModelRoleCode, PostureCode
from quotelife_server import convert
from quotelife_server.log import get_logger
from quotelife_server.models import Expected
from quotelife_server.rpc import CallContext, Code, Deferred, MethodTable, RpcError, Unary, waited

if TYPE_CHECKING:
    from quotelife_server.handlers import Service

_log = get_logger(__name__)

CHAMPION = ModelRoleCode.CHAMPION
_KINDS = {
    PROMOTION: admin.MODEL_CHANGE_KIND_PROMOTION,
    ROLLBACK: admin.MODEL_CHANGE_KIND_ROLLBACK,
    CANARY: admin.MODEL_CHANGE_KIND_CANARY,
    CONFIGURATION: admin.MODEL_CHANGE_KIND_CONFIGURATION,
}


def model_methods(service: "Service", later: Callable[[Awaitable[bytes]], Deferred]) -> MethodTable:
    engine, models, ledger = service.engine, service.models, service.ledger

    def changed(context: CallContext, what: str, digest: str, work: Awaitable[bytes]) -> Deferred:
        """The reply once the change is in force, on the disk and in the journal."""

        async def carry_out() -> bytes:
            try:
                reply = await work
            except QuotelifeError as error:
                _log.warning(
                    "model call refused", call=what, digest=digest, reason=str(error), peer=context.peer
                )
                raise model_refused(
                    models.told(error), unchanged=not isinstance(error, HalfWritten)
                ) from None
            _log.warning("model call", call=what, digest=digest, peer=context.peer)
            return await waited(ledger.acknowledge(reply))

        return later(carry_out())

    def load(payload: bytes, context: CallContext) -> Deferred:
        ledger.check()
        request = convert.parse(admin.LoadModelRequest, payload)
        digest, postures = _wanted(request.digest, request.postures)

        async def work() -> bytes:
            model = await models.load(digest, postures)
            return admin.LoadModelResponse(model=model_status(engine, model)).SerializeToString()

        return changed(context, "load", digest, work())

    def promote(payload: bytes, context: CallContext) -> Deferred:
        ledger.check()
        request = convert.parse(admin.PromoteModelRequest, payload)
        faults = convert.Faults()
        _digest(request.digest, faults)
        digest, postures = request.digest, all_or(_postures(request.postures, faults))
        _grounds(request, faults)
        expected = _expected(request, faults)
        faults.raise_if_any()

        async def work() -> bytes:
            model = await models.promote(digest, postures, request.verdict, request.force_reason, expected)
            return admin.PromoteModelResponse(
                model=model_status(engine, model), revision=models.state.revision
            ).SerializeToString()

        return changed(context, "promote", digest, work())

    def rollback(payload: bytes, context: CallContext) -> Deferred:
        ledger.check()
        request = convert.parse(admin.RollbackModelRequest, payload)
        faults = convert.Faults()
        postures = _postures(request.postures, faults)
        expected = _expected(request, faults)
        faults.raise_if_any()

        async def work() -> bytes:
            model = await models.rollback(postures, expected)
            return admin.RollbackModelResponse(
                model=model_status(engine, model), revision=models.state.revision
            ).SerializeToString()

        return changed(context, "rollback", "", work())

    def unload(payload: bytes, context: CallContext) -> Deferred:
        ledger.check()
        request = convert.parse(admin.UnloadModelRequest, payload)
        digest, postures = _wanted(request.digest, request.postures)

        async def work() -> bytes:
            await models.unload(digest, postures)
            return admin.UnloadModelResponse().SerializeToString()

        return changed(context, "unload", digest, work())

    def canary(payload: bytes, context: CallContext) -> Deferred:
        ledger.check()
        request = convert.parse(admin.SetCanaryRequest, payload)
        faults = convert.Faults()
        _digest(request.digest, faults)
        postures = all_or(_postures(request.postures, faults))
        share_bp = 0
        if not 0.0 <= request.share <= 1.0:  # no number is neither
            faults.add("share", "must lie between 0 and 1")
        else:
            share_bp = round(request.share * BASIS_POINTS)
            if abs(share_bp - request.share * BASIS_POINTS) > 1e-6:
                faults.add("share", "must be a multiple of 0.0001")
        _grounds(request, faults)
        faults.raise_if_any()

        async def work() -> bytes:
            model = await models.canary(
                request.digest, postures, share_bp, request.verdict, request.force_reason
            )
            return admin.SetCanaryResponse(model=model_status(engine, model)).SerializeToString()

        return changed(context, "canary", request.digest, work())

    def clear(payload: bytes, context: CallContext) -> Deferred:
        request = convert.parse(admin.ClearModelFailuresRequest, payload)
        faults = convert.Faults()
        if request.digest:
            _digest(request.digest, faults)
        faults.raise_if_any()

        async def work() -> bytes:
            count = await models.clear(request.digest or None)
            return admin.ClearModelFailuresResponse(cleared=count).SerializeToString()

        return changed(context, "clear", request.digest, work())

    def list_models(payload: bytes, context: CallContext) -> Deferred:
        convert.parse(admin.ListModelsRequest, payload)

        async def work() -> bytes:
            try:
                stored = await models.stored()
            except QuotelifeError as error:
                raise model_refused(models.told(error)) from None
            state = models.state
            response = admin.ListModelsResponse(
                failures=model_failures(state.failures),
                history=map(_model_change, state.log),
                revision=state.revision,
            )
            served = sorted(engine.served.all(), key=lambda model: not _is_champion(engine, model))
            response.models.extend(model_status(engine, model) for model in served)
            for posture, serving in engine.served.lineup.items():
                wanted = state.lineup.of(posture).champion
                response.postures.add(
                    posture=cast(Any, int(posture)),
                    champion=engine.served.model_of(int(posture), CHAMPION).digest,
                    wanted="" if wanted == serving.champion else wanted or "",
                    challenger=serving.challenger or "",
                    canary_share=serving.canary_bp / BASIS_POINTS,
                    shadows=serving.shadows,
                    rollbacks=sum(posture in act.champions for act in state.history),
                )
            for each in stored:
                response.stored.add(
                    digest=each.digest,
                    name=each.name,
                    kind=each.kind,
                    description=each.description,
                    problem=each.problem,
                )
            return response.SerializeToString()

        return later(work())

    prefix = "/quote_expiry.v1.AdminService/"
    return {
        prefix + "LoadModel": Unary(load),
        prefix + "PromoteModel": Unary(promote),
        prefix + "RollbackModel": Unary(rollback),
        prefix + "UnloadModel": Unary(unload),
        prefix + "SetCanary": Unary(canary),
        prefix + "ClearModelFailures": Unary(clear),
        prefix + "ListModels": Unary(list_models),
    }


def model_status(engine: Engine, model: CurveModel) -> admin.ModelStatus:
    return admin.ModelStatus(
        digest=model.digest,
        kind=model.kind,
        revision=engine.model_revision,
        champion=_is_champion(engine, model),
        name=model.name,
        configured=model.digest == engine.model.digest,
    )


def champion_status(engine: Engine) -> admin.ModelStatus:
    """Of the middle posture's, which stands for all where they are one."""
    return model_status(engine, engine.served.model_of(PostureCode.LIQUIDITY_PROVIDER, CHAMPION))


def model_failures(failures: Sequence[Failure]) -> list[admin.ModelFailure]:
    return [admin.ModelFailure(digest=f.digest, reason=f.reason, at_utc_ns=f.at_ns) for f in failures]


def _model_change(entry: Entry) -> admin.ModelChange:
    return admin.ModelChange(
        at_utc_ns=entry.at_ns,
        kind=_KINDS[entry.what],
        champions=[
            admin.PostureChampion(posture=cast(Any, int(posture)), champion=champion or "")
            for posture, champion in entry.champions.items()
        ],
        verdict=entry.grounds.verdict or "",
        reason=entry.grounds.reason,
        judged_from_utc_ns=entry.grounds.from_ns,
        judged_to_utc_ns=entry.grounds.to_ns,
        market=entry.grounds.market,
        challenger=entry.challenger or "",
        canary_share=entry.share_bp / BASIS_POINTS,
    )


def model_refused(reason: str, *, unchanged: bool = True) -> RpcError:
    """What keeps a model from being loaded or swapped; everything that serves stays as it was, over a restart too
    where it is ``unchanged``."""
    details = error_details_pb2.PreconditionFailure()
    details.violations.add(type="MODEL", subject="model", description=reason)
    return RpcError(
        Code.FAILED_PRECONDITION, f"{reason}; what serves is unchanged" if unchanged else reason, (details,)
    )


def _is_champion(engine: Engine, model: CurveModel) -> bool:
    return any(engine.served.model_of(int(each), CHAMPION).digest == model.digest for each in POSTURES)


def _wanted(digest: str, postures: Sequence[int]) -> tuple[str, tuple[PostureCode, ...]]:
    faults = convert.Faults()
    _digest(digest, faults)
    found = _postures(postures, faults)
    faults.raise_if_any()
    return digest, all_or(found)


def _expected(
    request: admin.PromoteModelRequest | admin.RollbackModelRequest, faults: convert.Faults
) -> Expected:
    if request.expected_champion and not is_digest(request.expected_champion):
        faults.add("expected_champion", "must be the 64 digits 0-9, a-f of an artifact, or empty")
    revision = request.expected_revision if request.HasField("expected_revision") else None
    return Expected(revision, request.expected_champion)


def _grounds(request: admin.PromoteModelRequest | admin.SetCanaryRequest, faults: convert.Faults) -> None:
    if len(request.verdict) > VERDICT_BYTES_MAX:
        faults.add("verdict", f"must be at most {VERDICT_BYTES_MAX} bytes")
    faults.text("force_reason", request.force_reason, most=REASON_CHARACTERS_MAX)


def _digest(text: str, faults: convert.Faults) -> None:
    if not is_digest(text):
        faults.add("digest", "must be the 64 digits 0-9, a-f of an artifact; ListModels names those stored")


def _postures(postures: Sequence[int], faults: convert.Faults) -> list[PostureCode]:
    if len(set(postures)) < len(postures) or any(each not in POSTURES for each in postures):
        faults.add("postures", "must be postures, each once; leave them out for all")
        return []
    return [PostureCode(each) for each in postures]
