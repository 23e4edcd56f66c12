"""A line-up of models made ready to serve; swapped whole, never changed."""

from quotelife.errors import QuotelifeError
from quotelife.model import lineup as of_models
from quotelife.model.lineup import canary_place
from quotelife.records import PostureCode
from quotelife.records cimport MODEL_CHALLENGER, MODEL_CHAMPION

assert of_models.SHADOWS_MAX == SERVED_SHADOWS_MAX


cdef class ServedModels:
    """The models that ``lineup`` names, out of ``models`` (by digest), with ``base`` where it names no champion.

    ``counterparties`` by their dense index: those that a canary takes are chosen here, once. Raises ``QuotelifeError``
    when a model is missing.
    """

    def __init__(self, CurveModel base not None, lineup, models, counterparties):
        cdef PostureModels* place
        cdef const uint8_t[::1] canary
        cdef int k
        missing = lineup.digests() - set(models)
        if missing:
            raise QuotelifeError(f"model {min(missing)}: is not loaded")
        self.base = base
        self.lineup = lineup
        self.models = {digest: models[digest] for digest in lineup.digests()}
        self._counterparties = len(counterparties)
        self._canaries = []
        for k in range(SERVED_POSTURES):
            fill(&self.posture[k].champion, base)
        for code, serving in lineup.items():
            place = &self.posture[<int>code]
            if serving.champion is not None:
                fill(&place.champion, self.models[serving.champion])
            for k, digest in enumerate(serving.shadows):
                fill(&place.shadow[k], self.models[digest])
            place.n_shadows = len(serving.shadows)
            if serving.challenger is not None and counterparties:
                fill(&place.challenger, self.models[serving.challenger])
                chosen = bytes(
                    canary_place(serving.challenger, name) < serving.canary_bp for name in counterparties
                )
                self._canaries.append(chosen)
                canary = chosen
                place.canary = &canary[0]
        self._champion = tuple(self._model(code, MODEL_CHAMPION) for code in range(SERVED_POSTURES))
        self._challenger = tuple(self._model(code, MODEL_CHALLENGER) for code in range(SERVED_POSTURES))
        self._serve_once()

    cdef int _serve_once(self) except -1:
        cdef const ModelSlot* slot
        cdef int k
        known = set()
        self.n_serving = 0
        for k in range(2 * (SERVED_POSTURES - 1)):             # champions first; nobody is answered under posture 0
            slot = &self.posture[k % (SERVED_POSTURES - 1) + 1].champion
            if k >= SERVED_POSTURES - 1:
                slot = &self.posture[k % (SERVED_POSTURES - 1) + 1].challenger
            if slot.fn == NULL or slot.model in known:
                continue
            known.add(slot.model)
            self.serving_slot[self.n_serving] = slot
            self.n_serving += 1
        return 0

    cdef const ModelSlot* slot(self, int posture, uint32_t counterparty, uint8_t* role) noexcept nogil:
        cdef const PostureModels* place = &self.posture[posture]
        if place.canary != NULL and counterparty < self._counterparties and place.canary[counterparty]:
            role[0] = MODEL_CHALLENGER
            return &place.challenger
        role[0] = MODEL_CHAMPION
        return &place.champion

    def serving(self):
        """The models that answer anybody, each once: champions, and challengers of somebody."""
        found = {}
        for _, each in self.lineup.items():
            champion = self.base if each.champion is None else self.models[each.champion]
            found[champion.digest] = champion
            if each.challenger is not None and self._counterparties:
                found[each.challenger] = self.models[each.challenger]
        return list(found.values())

    def champions(self):
        """Digests of the champions."""
        return {self.base.digest if each.champion is None else each.champion for _, each in self.lineup.items()}

    def all(self):
        """Every model, each once, the configuration's first."""
        return list({model.digest: model for model in [self.base, *self.models.values()]}.values())

    cpdef CurveModel model_of(self, int posture, int role):
        """The model that answers under a ``PostureCode`` in a ``ModelRoleCode``."""
        if not 0 <= posture < SERVED_POSTURES:
            raise ValueError(f"unknown posture {posture}")
        return (self._challenger if role == MODEL_CHALLENGER else self._champion)[posture]

    def _model(self, int posture, int role):
        if posture == 0:
            return self.base
        serving = self.lineup.of(PostureCode(posture))
        digest = serving.challenger if role == MODEL_CHALLENGER else serving.champion
        return self.base if digest is None else self.models[digest]


cdef int fill(ModelSlot* slot, CurveModel model) except -1:
    slot.fn = model.fn
    slot.params = model.params
    slot.model = int(model.digest[:16] or "0", 16)
    slot.place = -1
    return 0
