"""What takes two values to judge: order, references, overlaps, rows that can never be reached.

Each check names the sections it reads. A comparison counts only where all of them could be read whole, a reference
(``Unknown``) wherever the names are known that it could mean.
"""

import difflib
import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

from quotelife.config.schema import (
    DAYS,
    Config,
    InstrumentSettings,
    Override,
    PostureSettings,
    Throttle,
    Window,
)
from quotelife.news import LEXICON, scorer_names
from quotelife.units import NS_PER_MS, NS_PER_US, format_duration_ns

Path = tuple[str | int, ...]
Problem = tuple[Path, str]
WEEK_S = 7 * 86_400
CURVE_START_NS = 25 * NS_PER_MS
CURVE_END_NS = 5000 * NS_PER_MS

POSTURE_NAMES = ("client_priority", "liquidity_provider", "risk_averse")
"""From the least to the most careful."""

_WHOLE_US = "must be a whole number of microseconds: lives are rounded to them"


class Unknown(str):
    """The reason of a reference that leads nowhere: which name was looked for, among those of which section."""

    section: str
    name: str

    def __new__(cls, section: str, name: str, reason: str) -> "Unknown":
        made = super().__new__(cls, reason)
        made.section, made.name = section, name
        return made


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Words to append, empty where no known name is close; capitals do not count."""
    names = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(name[:64].casefold(), names, n=1)
    return f"; did you mean {names[close[0]]}?" if close else ""


def find_problems(
    config: Config,
    unread: Container[str] = (),
    partial: Container[str] = (),
    declared: Mapping[str, Container[str]] | None = None,
) -> list[Problem]:
    """Every fault between values, as (key path, reason).

    ``unread``: sections whose values and names are not known. ``partial``: sections that lack values which were
    refused. ``declared``: names that stand in a section, whether their entry was refused or not.
    """
    return list(_problems(config, unread, partial, declared or {}))


def _problems(
    config: Config, unread: Container[str], partial: Container[str], declared: Mapping[str, Container[str]]
) -> Iterator[Problem]:
    checks = [(sections, check(config)) for sections, check in _CHECKS]
    checks += [((str(path[0]),), iter([(path, reason)])) for path, reason in config.further_problems()]
    for sections, found in checks:
        whole = not any(section in unread or section in partial for section in sections)
        for path, reason in found:
            if isinstance(reason, Unknown):
                if reason.section not in unread and reason.name not in declared.get(reason.section, ()):
                    yield path, reason
            elif whole:
                yield path, reason


def compares(section: str) -> bool:
    """Is anything compared within or with this section, which must wait while values of it are refused?"""
    return any(section in sections for sections, _ in _CHECKS)


def no_instrument(name: str, names: Iterable[str]) -> Unknown:
    return Unknown("instruments", name, f"no instrument {name!r} is configured{did_you_mean(name, names)}")


def _no_tier(name: str, config: Config) -> Unknown:
    return Unknown("tiers", name, f"no tier {name!r} is configured{did_you_mean(name, config.tiers)}")


@lru_cache(maxsize=1)
def _zone_names() -> list[str]:
    return sorted(available_timezones())


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo | None:
    """The IANA time zone of that name, ``None`` when there is none."""
    try:
        return ZoneInfo(name)
    except (
        OSError,
        ValueError,
        KeyError,
    ):  # ZoneInfoNotFoundError is a KeyError; folders of zones are OSErrors
        return None


def _postures(config: Config) -> Iterator[Problem]:
    named = [(name, getattr(config.postures, name)) for name in POSTURE_NAMES]
    for name, posture in named:
        yield from _bounds(("postures", name), posture)
        yield from _steps(("postures", name, "step_table"), posture)
    for (looser, loose), (tighter, tight) in pairwise(named):
        for key, attribute in (
            ("tolerance", "tolerance"),
            ("life_min", "life_min_ns"),
            ("life_max", "life_max_ns"),
        ):
            if getattr(tight, attribute) > getattr(loose, attribute):
                yield (
                    ("postures", tighter, key),
                    f"exceeds that of {looser}; keep risk_averse ≤ liquidity_provider ≤ client_priority",
                )
        if tight.value.relationship_in_h > loose.value.relationship_in_h:
            yield (
                ("postures", tighter, "value", "relationship_in_h"),
                f"exceeds that of {looser}; keep risk_averse ≤ liquidity_provider ≤ client_priority",
            )
        if tight.value.pick_off_weight < loose.value.pick_off_weight:
            yield (
                ("postures", tighter, "value", "pick_off_weight"),
                f"is below that of {looser}; keep risk_averse ≥ liquidity_provider ≥ client_priority",
            )


def by_curve(posture: PostureSettings) -> bool:
    """Whether the posture reads the whole curve, not P(500 ms) alone."""
    return posture.mode != "step" and posture.tolerance_source == "curve"


def _bounds(path: Path, posture: PostureSettings) -> Iterator[Problem]:
    if posture.life_min_ns > posture.life_max_ns:
        yield (*path, "life_min"), f"exceeds life_max ({format_duration_ns(posture.life_max_ns)})"
    if by_curve(posture) and posture.life_min_ns < CURVE_START_NS:
        yield (*path, "life_min"), "is before the curve starts (25ms)"
    if posture.mode == "expected_value" and posture.life_min_ns > CURVE_END_NS:
        yield (*path, "life_min"), "is after the curve ends (5s): expected value knows no such life"
    if posture.held_tolerance.enabled and posture.life_max_ns > CURVE_END_NS:
        yield (
            (*path, "life_max"),
            "is after the last horizon (5s): held tolerance watches no life to its end there; "
            "set life_max to at most 5s, or held_tolerance.enabled to false",
        )
    for key, value in (("life_min", posture.life_min_ns), ("life_max", posture.life_max_ns)):
        if value % NS_PER_US:
            yield (*path, key), _WHOLE_US


def _steps(path: Path, posture: PostureSettings) -> Iterator[Problem]:
    table = posture.step_table
    if (table.preset is None) == (not table.rows):
        yield path, "write either a preset or rows"
        return
    if table.preset is not None:
        return  # presets are in order; lives outside a posture's bounds are clipped to them
    if table.rows[0].p_at_or_above != 0:
        yield (*path, 0, "p_at_or_above"), "the first row must start at 0, so that every P has a row"
    for index, row in enumerate(table.rows):
        if row.life_ns % NS_PER_US:
            yield (*path, index, "life"), _WHOLE_US
        if not posture.life_min_ns <= row.life_ns <= posture.life_max_ns:
            bounds = f"{format_duration_ns(posture.life_min_ns)} to {format_duration_ns(posture.life_max_ns)}"
            yield (
                (*path, index, "life"),
                f"outside the bounds ({bounds}), so it can never be given",
            )
    for index, (row, following) in enumerate(pairwise(table.rows), start=1):
        if following.p_at_or_above <= row.p_at_or_above:
            yield (*path, index, "p_at_or_above"), "rows must rise in p: this one can never be reached"
        if following.life_ns >= row.life_ns:
            yield (*path, index, "life"), "a higher P must give a shorter life than the row before"


def life_ms(posture: PostureSettings, p500: float) -> float:
    """Life by P(500 ms) alone, before rounding: what the order of postures is judged by at load time."""
    if posture.mode == "step":
        life_ns = float(next(life for p, life in reversed(posture.step_table.steps()) if p500 >= p))
    elif p500 <= 0:
        life_ns = math.inf
    elif p500 >= 1:
        life_ns = 0.0
    else:
        # in logarithms, so that an extreme gamma overflows to no more than infinity
        log_ratio = math.log(math.log1p(-posture.tolerance) / math.log1p(-p500)) / posture.gamma
        life_ns = 500 * NS_PER_MS * math.exp(log_ratio) if log_ratio < 100 else math.inf
    return min(max(life_ns, posture.life_min_ns), posture.life_max_ns) / NS_PER_MS


def _life_order(config: Config) -> Iterator[Problem]:
    """On the same curve a more careful posture must never live longer."""
    postures = [getattr(config.postures, name) for name in POSTURE_NAMES]
    if any(_postures(config)):
        return
    curves = [by_curve(each) for each in postures]
    if any(curves) and not all(curves):
        odd = POSTURE_NAMES[curves.index(True)]
        yield (
            ("postures", odd, "tolerance_source"),
            "curve beside postures that judge by P(500 ms) cannot keep lives in order: set all or none",
        )
        return
    steps = any(posture.mode == "step" for posture in postures)
    if all(curves) or (not steps and len({posture.gamma for posture in postures}) == 1):
        return  # tolerances and bounds in order, which _postures has seen to, are enough
    grid = {10 ** (-12 + 12 * i / 360) for i in range(361)}
    for posture in postures:
        if posture.mode == "step":
            for p, _ in posture.step_table.steps():
                grid |= {p, math.nextafter(p, 0)}
    for (looser, loose), (tighter, tight) in pairwise(zip(POSTURE_NAMES, postures, strict=True)):
        for p500 in sorted(grid):
            if life_ms(tight, p500) > life_ms(loose, p500) + 1e-6:
                yield (
                    ("postures", tighter),
                    f"would live longer than {looser} at P(500 ms) = {p500:.6g} "
                    f"({life_ms(tight, p500):.6g} ms against {life_ms(loose, p500):.6g} ms): "
                    "align gamma, mode or step_table of the two",
                )
                break


def _venue_sessions(config: Config) -> Iterator[Problem]:
    for name, session in config.venue_sessions.items():
        path: Path = ("venue_sessions", name)
        step = session.granularity_ns
        for key in ("granularity", "life_min", "life_max", "transit"):
            if (getattr(session, f"{key}_ns") or 0) % NS_PER_US:
                yield (*path, key), _WHOLE_US
        if session.transit_ns and session.actuation != "relative":
            yield (*path, "transit"), "is for relative sessions: other lives do not count from receipt"
        if session.life_max_ns is None:
            if session.actuation == "withdraw":
                yield (*path, "life_max"), "is required: it is what a withdraw session is sent"
            continue
        if session.life_min_ns > session.life_max_ns:
            yield (*path, "life_min"), f"exceeds life_max ({format_duration_ns(session.life_max_ns)})"
        if session.life_max_ns % step:
            yield (*path, "life_max"), f"must be a multiple of granularity ({format_duration_ns(step)})"


def _instruments(config: Config) -> Iterator[Problem]:
    if not config.instruments:
        yield ("instruments",), "at least one instrument must be configured"
    seen: dict[str, int] = {}
    feeds: dict[tuple[str, str], int] = {}
    for index, instrument in enumerate(config.instruments):
        path: Path = ("instruments", index)
        first = seen.setdefault(instrument.name, index)
        if first != index:
            yield (*path, "name"), f"{instrument.name!r} is the name of instruments[{first}] already"
        first = feeds.setdefault((instrument.venue, instrument.symbol), index)
        if first != index:
            yield (
                (*path, "symbol"),
                f"{instrument.symbol!r} of {instrument.venue} is instruments[{first}] already",
            )
        if instrument.quotes_only and instrument.order_level:
            yield (*path, "order_level"), "contradicts quotes_only: say which of the two the feed sends"
        if instrument.stale.min_ns > instrument.stale.max_ns:
            yield (*path, "stale", "min"), f"exceeds max ({format_duration_ns(instrument.stale.max_ns)})"
    names = set(seen)
    for index, instrument in enumerate(config.instruments):
        yield from _drivers(("instruments", index, "drivers"), instrument, names)
        yield from _underlying(("instruments", index), instrument, names)


def _underlying(path: Path, instrument: InstrumentSettings, names: set[str]) -> Iterator[Problem]:
    if instrument.underlying is not None and instrument.underlying not in names:
        yield (*path, "underlying"), no_instrument(instrument.underlying, names)
    elif instrument.underlying == instrument.name:
        yield (*path, "underlying"), "an instrument is not its own underlying; leave it out"
    if instrument.premium == "underlying" and instrument.underlying is None:
        yield (*path, "premium"), "needs the key underlying beside it"


def _drivers(path: Path, instrument: InstrumentSettings, names: set[str]) -> Iterator[Problem]:
    for place, driver in enumerate(instrument.drivers):
        here = (*path, place)
        for key, name in (("numerator", driver.numerator), ("denominator", driver.denominator)):
            if name is not None and name not in names:
                yield (*here, key), no_instrument(name, names)
        if driver.denominator == driver.numerator:
            yield (*here, "denominator"), "equals the numerator: such a ratio never moves"
        if driver.denominator is None and driver.numerator == instrument.name:
            yield here, "an instrument cannot drive itself"
        if driver in instrument.drivers[:place]:
            yield here, "is listed twice"


def _volatility_indices(config: Config) -> Iterator[Problem]:
    names = config.signals.volatility_indices
    for index, name in enumerate(names):
        if name in names[:index]:
            yield ("signals", "volatility_indices", index), f"{name!r} is listed twice"
    for index, instrument in enumerate(config.instruments):
        if instrument.volatility_index is not None and instrument.volatility_index not in names:
            yield (
                ("instruments", index, "volatility_index"),
                Unknown(
                    "signals",
                    instrument.volatility_index,
                    f"{instrument.volatility_index!r} is not in signals.volatility_indices"
                    + did_you_mean(instrument.volatility_index, names),
                ),
            )


def _tiers(config: Config) -> Iterator[Problem]:
    names = {instrument.name for instrument in config.instruments}
    for tier, settings in config.tiers.items():
        for name in settings.average_size:
            if name not in names:
                yield ("tiers", tier, "average_size", name), no_instrument(name, names)


def _tier_names(config: Config) -> Iterator[Problem]:
    for name, counterparty in config.counterparties.items():
        if counterparty.tier is not None and counterparty.tier not in config.tiers:
            yield ("counterparties", name, "tier"), _no_tier(counterparty.tier, config)
    unknown = config.defaults.unknown_counterparty_tier
    if unknown is not None and unknown not in config.tiers:
        yield ("defaults", "unknown_counterparty_tier"), _no_tier(unknown, config)


def throttle_of(config: Config, counterparty: str | None) -> Throttle:
    """What holds for a counterparty (``None``: not configured): its own word, else its tier's, else everybody's."""
    settings = None if counterparty is None else config.counterparties[counterparty]
    if settings is not None and settings.throttle is not None:
        return settings.throttle
    name = config.defaults.unknown_counterparty_tier if settings is None else settings.tier
    tier = None if name is None else config.tiers[name]
    return config.throttle if tier is None or tier.throttle is None else tier.throttle


def _overrides(config: Config) -> Iterator[Problem]:
    names = {instrument.name for instrument in config.instruments}
    for counterparty, settings in config.counterparties.items():
        path: Path = ("counterparties", counterparty, "overrides")
        for index, override in enumerate(settings.overrides):
            yield from _instrument_set((*path, index), override.instruments, names)
            yield from _window((*path, index, "window"), override.window)
            earlier = [each for each in settings.overrides[:index] if each.window in (None, override.window)]
            if _covers(earlier, override, names):
                yield (*path, index), "can never be reached: earlier overrides cover it"


def _covers(earlier: list[Override], override: Override, names: set[str]) -> bool:
    if any(each.instruments is None for each in earlier):
        return True
    taken = {name for each in earlier for name in each.instruments or ()}
    wanted = names if override.instruments is None else names.intersection(override.instruments)
    return bool(wanted) and wanted <= taken


def _instrument_set(path: Path, chosen: tuple[str, ...] | None, names: set[str]) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, name in enumerate(chosen or ()):
        if name not in names:
            yield (*path, "instruments", index), no_instrument(name, names)
        elif name in seen:
            yield (*path, "instruments", index), f"{name!r} is listed twice"
        seen.add(name)


def _window(path: Path, window: Window | None) -> Iterator[Problem]:
    if window is None:
        return
    if zone(window.timezone) is None:
        yield (
            (*path, "timezone"),
            Unknown(
                "",
                window.timezone,
                f"no IANA time zone {window.timezone!r}"
                + (did_you_mean(window.timezone, _zone_names()) or "; write UTC, Europe/London, …"),
            ),
        )
    if window.from_s == window.to_s:
        yield (*path, "to"), "equals from; a whole day is 00:00 to 24:00"
    if window.from_s == 86_400:
        yield (*path, "from"), "24:00 is an end; write 00:00 of the next day"
    if window.to_s == 0:
        yield (*path, "to"), "write 24:00 for the end of the day"
    if not window.days:
        yield (*path, "days"), "name at least one day, or leave the key out for every day"
    if len(set(window.days)) != len(window.days):
        yield (*path, "days"), "a day is listed twice"


def _calendars(config: Config) -> Iterator[Problem]:
    names = {instrument.name for instrument in config.instruments}
    seen: dict[str, int] = {}
    for index, entry in enumerate(config.calendars):
        path: Path = ("calendars", index)
        first = seen.setdefault(entry.name, index)
        if first != index:
            yield (*path, "name"), f"{entry.name!r} is the name of calendars[{first}] already"
        yield from _instrument_set(path, entry.instruments, names)
        yield from _window((*path, "window"), entry.window)
        venues = {instrument.venue for instrument in config.instruments}
        for place, venue in enumerate(entry.venues):
            if venue not in venues:
                yield (*path, "venues", place), f"no instrument of venue {venue!r} is configured"
        if zone(entry.timezone) is None:
            yield (*path, "timezone"), f"no IANA time zone {entry.timezone!r}; write America/New_York, …"
        elif entry.timezone != "UTC" and not entry.dates:
            yield (*path, "timezone"), "goes with dates; an instant has its offset, a window its own timezone"
        if len(set(entry.dates)) != len(entry.dates):
            yield (*path, "dates"), "a day is listed twice"
        dated = entry.start_ns is not None or entry.end_ns is not None
        if sum((dated, entry.window is not None, bool(entry.dates))) != 1:
            yield path, "write either start and end, or window, or dates"
        elif dated and (entry.start_ns is None or entry.end_ns is None):
            yield path, "write both start and end"
        elif entry.start_ns is not None and entry.end_ns is not None and entry.start_ns >= entry.end_ns:
            yield (*path, "end"), "must be later than start"
    yield from _overlaps(config)


def _overlaps(config: Config) -> Iterator[Problem]:
    """Two entries with start and end, or two weekly ones of one time zone, that claim an instrument at the same time.

    A dated entry may lie over a weekly one, and whole days over anything: the more severe regime holds then.
    """
    entries = config.calendars
    groups: dict[str, list[tuple[int, int, int]]] = {}
    for index, entry in enumerate(entries):
        if entry.window is not None and entry.window.from_s != entry.window.to_s:
            groups.setdefault(entry.window.timezone, []).extend(
                (a, b, index) for a, b in week_spans(entry.window)
            )
        elif entry.start_ns is not None and entry.end_ns is not None:
            groups.setdefault("", []).append((entry.start_ns, entry.end_ns, index))
    places = [frozenset(config.calendar_instruments(entry)) for entry in entries]
    reported: set[tuple[int, int]] = set()
    for spans in groups.values():
        spans.sort()
        open_spans: list[tuple[int, int]] = []  # (end, entry)
        for start, end, index in spans:
            open_spans = [span for span in open_spans if span[0] > start]
            for _, other in open_spans:
                pair = (min(index, other), max(index, other))
                if index == other or pair in reported or not places[index] & places[other]:
                    continue
                reported.add(pair)
                reason = f"overlaps calendars[{pair[0]}] ({entries[pair[0]].name}) on the same instrument"
                yield ("calendars", pair[1]), reason
            open_spans.append((end, index))


def week_spans(window: Window) -> Iterator[tuple[int, int]]:
    """The window's [start, end) in seconds since Monday 00:00 local time, cut in two at the week's end."""
    length = (window.to_s - window.from_s) % 86_400 or 86_400
    for day in window.days:
        start = DAYS.index(day) * 86_400 + window.from_s
        yield start, min(start + length, WEEK_S)
        if start + length > WEEK_S:
            yield 0, start + length - WEEK_S


def _monitor(config: Config) -> Iterator[Problem]:
    """A later step of the ladder takes more evidence than the one before."""
    cusum = config.learning.monitor.cusum
    for name, before, earlier_ns, later_ns in (
        ("degraded", "warn", cusum.warn_ns, cusum.degraded_ns),
        ("worst", "degraded", cusum.degraded_ns, cusum.worst_ns),
    ):
        if later_ns < earlier_ns:
            yield ("learning", "monitor", "cusum", name), f"must be at least {before}: it is the later step"


def _signals(config: Config) -> Iterator[Problem]:
    scorer = config.signals.news_scorer
    if scorer in (None, LEXICON):
        return  # to go through all installed packages takes ten times what the other checks do
    if scorer not in (known := scorer_names()):
        yield ("signals", "news_scorer"), f"no scorer {scorer!r} is installed; there are: {', '.join(known)}"


_CHECKS: tuple[tuple[tuple[str, ...], Callable[[Config], Iterator[Problem]]], ...] = (
    (("instruments",), _instruments),
    (("instruments", "signals"), _volatility_indices),
    (("postures",), _postures),
    (("postures",), _life_order),
    (("venue_sessions",), _venue_sessions),
    (("instruments", "tiers"), _tiers),
    (("tiers", "counterparties", "defaults"), _tier_names),
    (("instruments", "counterparties"), _overrides),
    (("instruments", "calendars"), _calendars),
    (("signals",), _signals),
    (("learning",), _monitor),
)
