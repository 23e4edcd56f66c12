"""What is done about a model that is not well: warn, degraded, step down to Risk Averse, and the way back.

Each instrument group has a ``Monitor`` for each served model. A model is *warned* of by any of its scores or sums
(drift of what it is asked is told apart: it may answer well all the same), *degraded* by a sum of calibration beyond
its second limit; beyond the third, where P is too low, the group *steps down*, if the configuration lets it. Only that
sum may go so far: its false alarms are bounded (see ``quotelife.model.monitor``), and only P that is too low does harm.
Only a champion's: a challenger answers a few clients, and its canary has to end, not the quotes of everybody. Stepping
down starts the sums anew. The way back: ``well_after`` without the sum of any champion coming to half its first limit,
over ``labels_min`` labels of the model that it was for; or an operator; or the model is champion no more.

Judged at timers, round by round; the engine makes a numbered input of each step.
"""

from enum import IntEnum, IntFlag
from typing import NamedTuple

import numpy as np

from libc.math cimport fmax, log
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from quotelife.errors import ArtifactError
from quotelife.model.feature_bins cimport FeatureBins
from quotelife.model.monitor cimport (
    CAUSE_CALIBRATION, CAUSE_FEATURES, CAUSE_P_HIGH, CAUSE_P_LOW, CAUSE_SKILL, DIRECTIONS, LEVEL_DEGRADED, LEVEL_WARNED,
    LEVEL_WELL, LEVEL_WORST, LEVELS, MONITOR_ANCHORS, MONITOR_PARTS, P_HIGH, P_LOW, PSI_WORST, Monitor, cusum_value,
    monitor_asked, monitor_free, monitor_judge, monitor_label, monitor_new, monitor_reset,
)

from quotelife.model.artifact import simulated
from quotelife.model.monitor import STATISTICS, CurveScores
from quotelife.model.recalibration import ANCHORS_NS


class Level(IntEnum):
    """How a model does in a group. ``WORST``: reason to step down."""

    WELL = LEVEL_WELL
    WARNED = LEVEL_WARNED
    DEGRADED = LEVEL_DEGRADED
    WORST = LEVEL_WORST


class Cause(IntFlag):
    P_LOW = CAUSE_P_LOW
    P_HIGH = CAUSE_P_HIGH
    CALIBRATION = CAUSE_CALIBRATION
    SKILL = CAUSE_SKILL
    FEATURES = CAUSE_FEATURES


class StepSource(IntEnum):
    """Who made a group step down or return."""

    MONITOR = 1
    OPERATOR = 2
    CONFIGURATION = 3
    MODEL = 4


class ModelMonitor(NamedTuple):
    """One served model in one group as of the last judgement. ``name``: of its artifact, "" where it has none;
    ``simulated``: trained on simulated markets alone. ``causes`` are ``Cause``, and ``level`` is of all but drift of
    features. ``cusum``: for 500 ms and 2 s (P too low, P too high),
    ``limits`` what they are held against: (warned, degraded, worst). ``psi``: the worst features, named, and their
    index; ``psi_own``: against the instruments' own shares, not those of all that was fitted on; ``psi_note``: why
    there is none. ``champion``: of some posture, else a challenger."""

    model: int
    champion: bool
    level: int
    causes: int
    scores: tuple
    cusum: tuple
    limits: tuple
    cusum_labels: tuple
    psi: tuple
    psi_above: int
    psi_samples: int
    psi_own: bool
    psi_note: str
    name: str
    simulated: bool


class GroupMonitor(NamedTuple):
    """One group. ``since_ns``, ``source`` and ``reason`` are of the step down, 0 and empty where there is none."""

    name: str
    down: bool
    since_ns: int
    source: int
    reason: str
    level: int
    models: tuple


class Step(NamedTuple):
    """What judging has come to: a group shall step down, or return."""

    group: str
    down: bool
    source: int
    reason: str
    model: int


cdef class Monitors:
    """Of one engine. ``follow`` must have been called before anything else."""

    def __cinit__(self):
        self._names = []
        self._bins = {}
        self._expected = {}
        self._places = []
        self._why = []
        self._about = {}

    def __dealloc__(self):
        self._forget_all()
        free(self.ladder)

    cdef int _forget_all(self) except -1:
        cdef int m
        for m in range(self._models):
            forget(&self._model[m], self.groups)
        self._models = 0
        return 0

    def follow(self, settings, models, champions, names, members):
        """Take over settings (``config.schema.Monitor``), the served models (``CurveModel``, each once), the digests of
        those that are champions, the groups' names and the instruments of each. What was counted stays where settings
        and model do; limits follow the number of models and of groups with instruments."""
        cdef uint32_t inhabited = <uint32_t>sum([1 for each in members if len(each)])
        cdef MonitorRules rules
        cdef Ladder* ladder
        cdef MonitoredModel fresh[MONITORED_MODELS_MAX]
        cdef uint32_t groups = <uint32_t>len(names), g
        cdef int m, k, n = 0
        cdef bint keep
        cdef FeatureBins bins
        wanted = {int(each.digest[:16] or "0", 16): each for each in models} if settings.enabled else {}
        rules = rules_of(settings, max(1, len(wanted) * inhabited))
        keep = self.enabled == settings.enabled and same(&rules, &self.rules)
        if len(wanted) > MONITORED_MODELS_MAX:
            raise ValueError(f"{len(wanted)} models serve at once; {MONITORED_MODELS_MAX} can be monitored")
        told = {number: bins_of(model) for number, model in wanted.items()}
        places, expected = [], {}
        for number in wanted:
            of = told[number]
            row = []
            for g in range(groups):
                if isinstance(of, FeatureBins):
                    known = (number, tuple(members[g]) if len(members[g]) <= 16 else ())
                    if known not in expected:
                        shares, own = of.expected(known[1])
                        expected[known] = (np.ascontiguousarray(shares, dtype=np.float64), own)
                    row.append(expected[known])
                else:
                    row.append((None, False))
            places.append(row)
        ladder = <Ladder*>calloc(max(groups, 1), sizeof(Ladder))
        if ladder == NULL:
            raise MemoryError()
        if self.groups:
            memcpy(ladder, self.ladder, self.groups * sizeof(Ladder))
        free(self.ladder)
        self.ladder = ladder
        for number in wanted:
            fresh[n].model = number
            fresh[n].bins = NULL
            fresh[n].features = 0
            fresh[n].champion = wanted[number].digest in champions
            fresh[n].of = <Monitor**>calloc(max(groups, 1), sizeof(Monitor*))
            fresh[n].expected = <const double**>calloc(max(groups, 1), sizeof(double*))
            if fresh[n].of == NULL or fresh[n].expected == NULL:
                raise MemoryError()
            if isinstance(told[number], FeatureBins):
                bins = told[number]
                fresh[n].bins = bins.bins
                fresh[n].features = bins.features
            n += 1
        for m in range(n):
            for g in range(groups):
                shares = places[m][g][0]
                if shares is not None:
                    fresh[m].expected[g] = first_of(shares)
            for k in range(self._models):
                if keep and self._model[k].model == fresh[m].model:
                    for g in range(self.groups):
                        fresh[m].of[g] = self._model[k].of[g]
                        self._model[k].of[g] = NULL
                        if fresh[m].of[g] != NULL and fresh[m].of[g].bins != NULL:
                            fresh[m].of[g].bins = fresh[m].bins
                            fresh[m].of[g].expected = fresh[m].expected[g]
        self._forget_all()
        for m in range(n):
            self._model[m] = fresh[m]
        self._models = n
        self._bins = told
        self._expected = expected
        self._places = places
        self._names = list(names)
        self._why += [(0, "")] * (groups - len(self._why))
        self._about = {number: about(model) for number, model in wanted.items()}
        self.groups = groups
        self.inhabited = inhabited
        self.rules = rules
        self.enabled = settings.enabled
        for g in range(groups):
            self.ladder[g].inhabited = len(members[g]) > 0
            self._sum_up(g)
        self._to_judge = min(self._to_judge, groups)
        if self._next >= groups:
            self._next = 0

    cdef Monitor* _of(self, uint64_t model, uint32_t group) noexcept nogil:
        cdef MonitoredModel* each
        cdef int m
        for m in range(self._models):
            each = &self._model[m]
            if each.model != model:
                continue
            if each.of[group] == NULL:
                each.of[group] = monitor_new(each.bins, each.features, each.expected[group])
            return each.of[group]
        return NULL

    cdef void label(self, uint64_t model, uint32_t group, int64_t now_ns, int64_t decided_ns, int anchor, double p,
                    bint hit) noexcept nogil:
        cdef Monitor* monitor = self._of(model, group)
        if monitor != NULL:
            monitor_label(monitor, &self.rules, now_ns, decided_ns, anchor, p, hit)

    cdef void asked(self, uint64_t model, uint32_t group, int64_t now_ns, const double* x, const uint64_t* valid,
                    double sigma_ticks) noexcept nogil:
        cdef Monitor* monitor = self._of(model, group)
        if monitor != NULL:
            monitor_asked(monitor, &self.rules, now_ns, x, valid, sigma_ticks)

    cdef int judge(self, uint32_t group, int64_t now_ns, int* left) noexcept nogil:
        # 1: shall step down, -1: shall return, 0: stays as it is. What it costs is taken from left.
        cdef Ladder* ladder = &self.ladder[group]
        cdef Monitor* monitor
        cdef bint well = True, worst = False
        cdef int64_t labels = 0
        cdef uint32_t causes
        cdef int m, k, level
        for m in range(self._models):
            monitor = self._model[m].of[group]
            if monitor == NULL:
                continue
            causes, level = monitor.causes, min(monitor.level, <int>LEVEL_DEGRADED)
            left[0] -= COST_WITH_FEATURES if monitor_judge(monitor, &self.rules, now_ns) else 1
            if monitor.level > level:
                causes &= CAUSE_FEATURES               # another alert: all that has led to it is told
            if monitor.causes & ~causes:
                if self._n_newly < NEWLY_MAX:
                    self._newly[self._n_newly] = NewlyUnwell(group, monitor.causes & ~causes, self._model[m].model)
                self._n_newly += 1
            if not self._model[m].champion:
                continue
            worst = worst or monitor.level == LEVEL_WORST
            for k in range(MONITOR_ANCHORS):
                if self._model[m].model == ladder.model:
                    labels = max(labels, monitor.cusum[k].labels)
                well = well and cusum_value(&monitor.cusum[k], P_LOW) < 0.5 * self.rules.limit[k][<int>LEVEL_WARNED]
        self._sum_up(group)
        if not ladder.down:
            return worst and self.rules.step_down
        if worst:
            self._reset(group)
        if not well:
            ladder.well_ns = 0
        elif ladder.well_ns == 0:
            ladder.well_ns = now_ns
        elif (self.rules.automatic_return and labels >= self.rules.labels_min
                and now_ns - ladder.well_ns >= self.rules.well_after_ns):
            return -1
        return 0

    cdef void _reset(self, uint32_t group) noexcept nogil:
        cdef int m
        for m in range(self._models):
            if self._model[m].of[group] != NULL:
                monitor_reset(self._model[m].of[group])

    def due(self, int64_t now_ns):
        """Judge the next groups in turn, each at most once in ``JUDGED_EVERY_NS`` and in one call no more than
        ``JUDGED_AT_ONCE`` allows; the ``Step`` objects that they come to. Few or none."""
        cdef uint32_t g
        cdef int turn, left = JUDGED_AT_ONCE
        found = []
        if not self.enabled:
            return found
        if self._to_judge == 0 and (self._round_ns == 0 or now_ns - self._round_ns >= JUDGED_EVERY_NS):
            self._round_ns = now_ns
            self._to_judge = self.groups
        while self._to_judge and left > 0:
            self._to_judge -= 1
            g = self._next
            self._next = g + 1 if g + 1 < self.groups else 0
            left -= 1
            turn = self.judge(g, now_ns, &left)
            if turn > 0:
                model, reason = self._worst(g)
                found.append(Step(self._names[g], True, int(StepSource.MONITOR), reason, model))
            elif turn < 0:
                found.append(Step(self._names[g], False, int(StepSource.MONITOR),
                                  f"well for {self.rules.well_after_ns / 1e9:g} s", self.ladder[g].model))
        return found

    def dropped(self):
        """Groups that are down without a reason any more, as ``Step`` objects: stepping down is switched off, they have
        no instrument, or the model that it was for is champion nowhere any more."""
        cdef uint32_t g
        cdef int m
        champions = {self._model[m].model for m in range(self._models) if self._model[m].champion}
        found = []
        for g in range(self.groups):
            if not self.ladder[g].down:
                continue
            if not (self.enabled and self.rules.step_down):
                found.append(Step(self._names[g], False, int(StepSource.CONFIGURATION), "stepping down is switched off",
                                  self.ladder[g].model))
            elif not self.ladder[g].inhabited:
                found.append(Step(self._names[g], False, int(StepSource.CONFIGURATION), "it has no instrument any more",
                                  self.ladder[g].model))
            elif self.ladder[g].model not in champions:
                found.append(Step(self._names[g], False, int(StepSource.MODEL), "its model serves no more",
                                  self.ladder[g].model))
        return found

    def place(self, str name):
        """Index of a group, ``None`` where there is none of that name."""
        return self._names.index(name) if name in self._names else None

    def is_down(self, uint32_t group):
        """Has a group stepped down?"""
        return bool(self.ladder[group].down)

    def may_step_down(self, uint64_t model):
        """Is it configured, and is the model a champion?"""
        cdef int m
        serves = any([self._model[m].champion and self._model[m].model == model for m in range(self._models)])
        return bool(self.enabled and self.rules.step_down and serves)

    def set(self, uint32_t group, bint down, int64_t since_ns, int source, str reason, uint64_t model):
        """A step was made."""
        cdef Ladder* ladder = &self.ladder[group]
        ladder.down = down
        ladder.since_ns = since_ns if down else 0
        ladder.well_ns = 0
        ladder.model = model if down else 0
        self._why[group] = (source, reason) if down else (0, "")
        self._reset(group)

    def steps(self):
        """Groups that are down: (name, since_ns, source, reason, model) each."""
        cdef uint32_t g
        return [
            (self._names[g], self.ladder[g].since_ns, *self._why[g], self.ladder[g].model)
            for g in range(self.groups)
            if self.ladder[g].down
        ]

    def levels(self):
        """How many groups are at each ``Level``, those that are down told apart: (well, warned, degraded or worst,
        down)."""
        cdef uint32_t g
        counts = [0, 0, 0, 0]
        for g in range(self.groups):
            level = LEVEL_WORST if self.ladder[g].down else min(self.ladder[g].level, <int>LEVEL_DEGRADED)
            counts[level] += 1
        return tuple(counts)

    def unwell(self, int most):
        """Groups that are not well: how many, and the places of the ``most`` (at most 32) worst, worst first:
        ((warned, places), (degraded, places), (inputs unlike those of the training, places)). Those that are down count
        among the last alone."""
        cdef uint32_t worst[3][SHOWN_MAX]
        cdef double by[3][SHOWN_MAX]
        cdef int64_t n[3]
        cdef uint32_t g
        cdef int level, k
        most = max(0, min(most, SHOWN_MAX))
        n[0] = n[1] = n[2] = 0
        with nogil:
            for g in range(self.groups):
                level = min(self.ladder[g].level, <int>LEVEL_DEGRADED)
                if level != LEVEL_WELL and not self.ladder[g].down:
                    put_worst(worst[level - 1], by[level - 1], &n[level - 1], most, g, self.ladder[g].worst)
                if self.ladder[g].causes & CAUSE_FEATURES:
                    put_worst(worst[2], by[2], &n[2], most, g, self.ladder[g].psi)
        return tuple([(n[k], [worst[k][i] for i in range(min(n[k], most))]) for k in range(3)])

    def newly(self):
        """What has gone wrong since the last call: ((place, model, ``Cause``), …), and how many more for which there
        was no room. A cause that ends and comes again is told again; so are all of a model that has come to be
        degraded."""
        cdef int64_t told = min(self._n_newly, NEWLY_MAX), more = self._n_newly - told
        cdef int64_t i
        found = tuple([(self._newly[i].group, self._newly[i].model, self._newly[i].causes) for i in range(told)])
        self._n_newly = 0
        return found, more

    def unjudged(self):
        """Groups with instruments of which a champion's scores are not judged: (all of them, those among them that have
        had no whole window yet). Of the rest, a window holds too few labels."""
        cdef uint32_t g
        cdef uint32_t n = 0, early = 0
        if self.enabled:
            for g in range(self.groups):
                if self.ladder[g].inhabited and not self.ladder[g].judged:
                    n += 1
                    early += not self.ladder[g].full
        return n, early

    cdef void _sum_up(self, uint32_t group) noexcept nogil:
        cdef Ladder* ladder = &self.ladder[group]
        cdef const Monitor* monitor
        cdef int m
        ladder.level = LEVEL_WELL
        ladder.causes = 0
        ladder.worst = ladder.psi = 0.0
        ladder.full = ladder.judged = True
        for m in range(self._models):
            monitor = self._model[m].of[group]
            if monitor == NULL:
                if self._model[m].champion:
                    ladder.full = ladder.judged = False
                continue
            if monitor.level > ladder.level:
                ladder.level, ladder.worst = monitor.level, 0.0
            if monitor.level == ladder.level:
                ladder.worst = fmax(ladder.worst, monitor.worst)
            ladder.causes |= monitor.causes
            if monitor.causes & CAUSE_FEATURES:
                ladder.psi = fmax(ladder.psi, monitor.psi[0])
            if self._model[m].champion:
                ladder.full = ladder.full and monitor.full
                ladder.judged = ladder.judged and monitor.judged

    def group(self, uint32_t group):
        """``GroupMonitor`` of a place."""
        cdef Ladder* ladder = &self.ladder[group]
        models = [self._told(m, group) for m in range(self._models) if self._model[m].of[group] != NULL]
        return GroupMonitor(self._names[group], bool(ladder.down), ladder.since_ns, *self._why[group],
                            ladder.level, tuple(models))

    def _worst(self, uint32_t group):
        # (model, reason) of the champion that has come to the worst.
        for m in range(self._models):
            if not self._model[m].champion or self._model[m].of[group] == NULL:
                continue
            if self._model[m].of[group].level == LEVEL_WORST:
                told = self._told(m, group)
                return told.model, in_words(told)
        raise AssertionError("no model is at the worst level")

    def _told(self, int m, uint32_t group):
        cdef Monitor* monitor = self._model[m].of[group]
        cdef int k, level
        bins = self._bins[self._model[m].model]
        worst = []
        for k in range(PSI_WORST):
            if monitor.psi_feature[k] >= 0 and monitor.bins != NULL and monitor.psi_samples:
                worst.append(((<FeatureBins>bins).names[monitor.psi_feature[k]], monitor.psi[k]))
        return ModelMonitor(
            model=self._model[m].model,
            champion=bool(self._model[m].champion),
            level=monitor.level,
            causes=monitor.causes,
            scores=tuple([
                CurveScores(<int>monitor.scores[k].labels, monitor.scores[k].prevalence, monitor.scores[k].brier,
                            monitor.scores[k].skill, monitor.scores[k].ece, monitor.scores[k].auc, monitor.scores[k].z)
                for k in range(MONITOR_ANCHORS)]),
            cusum=tuple([(cusum_value(&monitor.cusum[k], P_LOW), cusum_value(&monitor.cusum[k], P_HIGH))
                         for k in range(MONITOR_ANCHORS)]),
            limits=tuple([tuple([self.rules.limit[k][level] for level in range(1, LEVELS)])
                          for k in range(MONITOR_ANCHORS)]),
            cusum_labels=tuple([monitor.cusum[k].labels for k in range(MONITOR_ANCHORS)]),
            psi=tuple(worst),
            psi_above=monitor.psi_above,
            psi_samples=monitor.psi_samples,
            psi_own=self._places[m][group][1],
            psi_note=bins if isinstance(bins, str) else "",
            name=self._about[self._model[m].model][0],
            simulated=self._about[self._model[m].model][1],
        )


cdef void forget(MonitoredModel* self, uint32_t groups) noexcept nogil:
    cdef uint32_t g
    for g in range(groups):
        monitor_free(self.of[g])
    free(self.of)
    free(<void*>self.expected)
    self.of = NULL
    self.expected = NULL


cdef const double* first_of(shares) except NULL:
    cdef const double[:, ::1] rows = shares
    return &rows[0, 0]


cdef void put_worst(uint32_t* places, double* by, int64_t* n, int most, uint32_t place, double bad) noexcept nogil:
    # One more of n; the worst of them are kept in order.
    cdef int64_t at = min(n[0], most)
    n[0] += 1
    while at > 0 and bad > by[at - 1]:
        at -= 1
        if at + 1 < most:
            by[at + 1] = by[at]
            places[at + 1] = places[at]
    if at < most:
        by[at] = bad
        places[at] = place


cdef object about(model):
    manifest = model.manifest or {}
    return manifest.get("name", ""), simulated(manifest.get("training") or {})


cdef object bins_of(model):
    # FeatureBins, or in words why there are none.
    told = ((model.manifest or {}).get("training") or {}).get("feature_bins")
    if told is None:
        return "the model's manifest does not say how features were distributed in training"
    try:
        return FeatureBins(told)
    except ArtifactError as error:
        return str(error)


cdef MonitorRules rules_of(settings, int64_t monitors):
    cdef MonitorRules rules
    cdef int k, level
    cusum, features = settings.cusum, settings.features
    rules.part_ns = -(-settings.window_ns // MONITOR_PARTS)
    rules.labels_min = settings.labels_min
    rules.outcomes_min = settings.outcomes_min
    rules.psi_half_ns = -(-features.window_ns // 2)
    rules.psi_every = features.every
    rules.psi_samples_min = features.samples_min
    rules.well_after_ns = settings.well_after_ns
    rules.ece_max = settings.ece_max
    rules.skill_min = settings.skill_min
    rules.psi_max = features.psi_max
    rules.odds = cusum.odds
    rules.log_odds = log(rules.odds)
    for k, limits in enumerate(cusum_limits(cusum, monitors)):
        rules.limit[k][<int>LEVEL_WELL] = 0.0
        for level in range(1, LEVELS):
            rules.limit[k][level] = limits[level - 1]
    rules.step_down = settings.worst == "step_down"
    rules.automatic_return = settings.automatic_return
    return rules


def cusum_limits(cusum, int64_t monitors):
    """Limits of the sums for ``monitors`` right models (models times groups): ((warned, degraded, worst) at 500 ms, at
    2 s). Each of the times of ``cusum`` (``config.schema.Cusum``) is then the least mean time between two false alarms
    of them all."""
    if monitors < 1:
        raise ValueError(f"limits are for at least one monitor, not {monitors}")
    return tuple([
        tuple([log(<double>STATISTICS * monitors * <double>least_ns / tau_ns)
               for least_ns in (cusum.warn_ns, cusum.degraded_ns, cusum.worst_ns)])
        for tau_ns in ANCHORS_NS])


cdef bint same(const MonitorRules* a, const MonitorRules* b) noexcept nogil:
    # Is what was counted under one set of rules good under the other? Limits may move, sums and windows not.
    return a.part_ns == b.part_ns and a.psi_half_ns == b.psi_half_ns and a.psi_every == b.psi_every and a.odds == b.odds


def in_words(told):
    """What is wrong with the answers of a ``ModelMonitor``, in words with figures; "" where nothing is."""
    causes = told.causes
    parts = []
    for k, tau in enumerate(("500 ms", "2 s")):
        scores = told.scores[k]
        low, high = told.cusum[k]
        hits = scores.labels * scores.prevalence if scores.labels else 0.0
        seen = f"{hits:.0f} of {scores.labels} labels hit at {tau}"
        if causes & CAUSE_P_LOW and low >= 0.5 * told.limits[k][0]:
            parts.append(f"P is too low: {seen}, CUSUM {low:.1f} (limits {limits_of(told.limits[k])})")
        if causes & CAUSE_P_HIGH and high >= 0.5 * told.limits[k][0]:
            parts.append(f"P is too high: {seen}, CUSUM {high:.1f} (limits {limits_of(told.limits[k])})")
        if causes & (CAUSE_CALIBRATION | CAUSE_SKILL) and scores.labels:
            parts.append(f"at {tau} calibration error {scores.ece:.3f}, Brier skill {scores.skill:.3f}")
    return "; ".join(parts)


def inputs_in_words(told):
    """How what a ``ModelMonitor`` is asked differs from its training, in words with figures; "" where it does not."""
    if not told.causes & CAUSE_FEATURES:
        return ""
    named = ", ".join([f"{name} {value:.2f}" for name, value in told.psi[:3]])
    return f"{told.psi_above} features are not distributed as in training (PSI {named})"


cdef str limits_of(limits):
    return ", ".join([f"{each:.1f}" for each in limits])
