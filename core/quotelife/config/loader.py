"""YAML files to one Config, or every fault at once as ``file:line: key.path: reason``.

The YAML taken is the plain part that people write: mappings, sequences and scalars, one document a file.
Scalars follow YAML 1.2 (``on`` is text, ``08:30`` is text, ``010`` is ten). Anchors, aliases, tags and
complex keys are refused, so a small file cannot grow into a large one and no value means other than it says.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any, Generic, NamedTuple, TypeVar, get_args, overload

import yaml
from pydantic import BaseModel, ValidationError

from quotelife.config.checks import Path, Problem, compares, did_you_mean, find_problems
from quotelife.config.schema import Config, section_keys, section_type
from quotelife.errors import ConfigError

FILE_BYTES_MAX = 8 * 1024 * 1024
FILES_MAX = 64
DEPTH_MAX = 16
VALUE_TEXT_MAX = 60
PROBLEMS_MAX = 200  # beyond, what is wrong between values waits until what is wrong within them is mended
ROUNDS_MAX = 8

_YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}

C = TypeVar("C", bound=Config)


class Mark(NamedTuple):
    file: str
    line: int


class _Fault(NamedTuple):
    mark: Mark
    key: str
    reason: str


@overload
def load_config(path: str | FilePath) -> Config: ...
@overload
def load_config(path: str | FilePath, model: type[C]) -> C: ...
def load_config(path: str | FilePath, model: type[Config] = Config) -> Config:
    """Read one file, or all ``*.yaml`` of a folder, each top-level key in one file only.

    Raises ``ConfigError`` with every fault found. ``model`` may add sections; they are checked as strictly.
    """
    faults: list[_Fault] = []
    data: dict[str, Any] = {}
    marks: dict[Path, Mark] = {}
    whole = Mark(str(path), 1)
    for file, name in _files(FilePath(path), faults):
        _merge(data, marks, _read(file, name, faults), faults)
        whole = Mark(name, 1)
    marks[()] = min(marks.values(), default=whole)
    absent = frozenset(section_keys(model)).difference(data) if faults else frozenset()
    read = _validate(data, marks, model, faults, absent)
    if read.config is not None:
        unread = absent | {str(path[0]) for path in read.left_out if len(path) == 1}
        partial = {str(path[0]) for path in (*read.left_out, *read.replaced) if path}
        for key_path, reason in find_problems(read.config, unread, partial, _declared(data)):
            mark, known = _locate(read.as_written(key_path), marks)
            faults.append(_Fault(mark, _render(known), str(reason)))
    if faults or read.config is None:
        ordered = sorted(set(faults))
        unchecked = absent | {str(path[0]) for path in (*read.left_out, *read.replaced) if path}
        raise ConfigError(
            [f"{fault.mark.file}:{fault.mark.line}: {fault.key}: {fault.reason}" for fault in ordered],
            tuple(sorted(section for section in unchecked if data and compares(section))),
        )
    return read.config


def placed(path: str | FilePath, problems: Iterable[Problem]) -> list[str]:
    """Faults that only show beyond the files of a configuration which loads, in the words of one that does not:
    ``file:line: key.path: reason``."""
    marks: dict[Path, Mark] = {}
    for file, name in _files(FilePath(path), []):
        _merge({}, marks, _read(file, name, []), [])
    marks[()] = min(marks.values(), default=Mark(str(path), 1))
    found = [(_locate(key_path, marks)[0], key_path, reason) for key_path, reason in problems]
    return [f"{mark.file}:{mark.line}: {_render(key_path)}: {reason}" for mark, key_path, reason in found]


def _declared(data: Mapping[str, Any]) -> dict[str, set[str]]:
    """Names that the files give to instruments, tiers and indices, whatever else is wrong with these."""
    instruments, tiers, signals = (data.get(key) for key in ("instruments", "tiers", "signals"))
    names: dict[str, set[str]] = {"tiers": set(tiers) if isinstance(tiers, dict) else set()}
    entries = instruments if isinstance(instruments, tuple) else ()
    names["instruments"] = {str(each.get("name")) for each in entries if isinstance(each, dict)}
    indices = signals.get("volatility_indices") if isinstance(signals, dict) else None
    names["signals"] = {str(each) for each in indices} if isinstance(indices, tuple) else set()
    return names


def _files(path: FilePath, faults: list[_Fault]) -> Iterator[tuple[FilePath, str]]:
    try:
        if path.is_file():
            yield path, path.name
            return
        if not path.is_dir():
            faults.append(_Fault(Mark(str(path), 1), "file", "there is no such file or folder"))
            return
        found = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        faults.append(_Fault(Mark(str(path), 1), "file", f"cannot be read: {_cause(error)}"))
        return
    for entry in found:
        if entry.suffix == ".yml":
            faults.append(_Fault(Mark(entry.name, 1), "file", "would be ignored; name it .yaml"))
    files = [entry for entry in found if entry.suffix == ".yaml"]
    if not files:
        faults.append(_Fault(Mark(str(path), 1), "file", "holds no *.yaml file"))
    if len(files) > FILES_MAX:
        faults.append(_Fault(Mark(str(path), 1), "file", f"holds more than {FILES_MAX} *.yaml files"))
        return
    for entry in files:
        yield entry, entry.name


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


class _Tree(NamedTuple):
    """What one file says: its top-level mapping, and the line of every key path."""

    name: str
    data: dict[str, Any]
    marks: dict[Path, Mark]


def _read(file: FilePath, name: str, faults: list[_Fault]) -> _Tree:
    empty = _Tree(name, {}, {})
    try:
        if not file.is_file():
            faults.append(_Fault(Mark(name, 1), "file", "is not a regular file"))
            return empty
        with file.open("rb") as stream:
            raw = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        faults.append(_Fault(Mark(name, 1), "file", f"cannot be read: {_cause(error)}"))
        return empty
    if len(raw) > FILE_BYTES_MAX:
        faults.append(_Fault(Mark(name, 1), "file", f"is larger than {FILE_BYTES_MAX} bytes"))
        return empty
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        faults.append(_Fault(Mark(name, line), "file", f"is not UTF-8 at byte {error.start}"))
        return empty
    return _Composer(name, text, faults).tree()


class _Refused(Exception):
    """Reading of this file cannot go on."""


class _Composer:
    """One file's YAML events to plain data and the line of every key."""

    def __init__(self, name: str, text: str, faults: list[_Fault]) -> None:
        self._name = name
        self._text = text
        self._faults = faults
        self._marks: dict[Path, Mark] = {}

    def tree(self) -> _Tree:
        data: Any = {}
        try:
            self._events = yaml.parse(self._text, Loader=_YamlLoader)
            self._next()  # stream start
            if isinstance(self._next(), yaml.DocumentStartEvent):
                data = self._node(self._next(), ())
                self._next()  # document end
                extra = self._next()
                if isinstance(extra, yaml.DocumentStartEvent):
                    self._refuse(extra, (), "a second document begins here; one file holds one document")
        except yaml.YAMLError as error:
            mark = self._syntax_mark(error)
            begin = next(iter(self._text.splitlines()[mark.line - 1 : mark.line]), "")
            tab = "\t" in begin[: len(begin) - len(begin.lstrip())]
            reason = "a tab indents this line; use spaces" if tab else _syntax_reason(error)
            self._faults.append(_Fault(mark, "yaml", reason))
            data = {}
        except _Refused:
            data = {}
        if data is None:
            data = {}
        if not isinstance(data, dict):
            self._faults.append(_Fault(Mark(self._name, 1), "yaml", "must be a mapping of sections"))
            data = {}
        return _Tree(self._name, data, self._marks)

    def _next(self) -> Any:
        return next(self._events)

    def _mark(self, event: Any) -> Mark:
        return Mark(self._name, event.start_mark.line + 1)

    def _refuse(self, event: Any, path: Path, reason: str) -> None:
        self._faults.append(_Fault(self._mark(event), _render(path), reason))
        raise _Refused

    def _node(self, event: Any, path: Path) -> Any:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            self._refuse(event, path, "anchors and aliases are not taken; write the value out")
        if getattr(event, "tag", None) is not None:
            self._refuse(event, path, f"tags such as {_shorten(event.tag)} are not taken")
        if len(path) > DEPTH_MAX:
            self._refuse(event, path, f"is nested more than {DEPTH_MAX} deep")
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._mapping(path)

    def _sequence(self, path: Path) -> tuple[Any, ...]:
        items: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            here = (*path, len(items))
            self._marks[here] = self._mark(event)
            items.append(self._node(event, here))
        return tuple(items)

    def _mapping(self, path: Path) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._refuse(event, path, "a key must be plain text")
            self._node(event, path)  # a key may carry no anchor or tag either
            key = event.value
            here = (*path, key)
            mark = self._mark(event)
            if key in entries:
                self._faults.append(
                    _Fault(mark, _render(here), f"is written twice, first on line {self._marks[here].line}")
                )
                self._node(self._next(), here)
                continue
            self._marks[here] = mark
            entries[key] = self._node(self._next(), here)
        return entries

    def _syntax_mark(self, error: yaml.YAMLError) -> Mark:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        if mark is not None:
            return Mark(self._name, mark.line + 1)
        position = getattr(error, "position", None)
        return Mark(self._name, self._text.count("\n", 0, position) + 1 if isinstance(position, int) else 1)


def _scalar(event: yaml.ScalarEvent) -> Any:
    text = event.value
    if not event.implicit[0]:  # quoted or a block: text as it stands
        return text
    if text in _SPECIAL:
        return _SPECIAL[text]
    if _INT.fullmatch(text):
        return int(text)
    if len(text) <= VALUE_TEXT_MAX and _FLOAT.fullmatch(text):
        return float(text)
    return text


def _syntax_reason(error: yaml.YAMLError) -> str:
    parts = [getattr(error, "context", None), getattr(error, "problem", None)]
    said = ", ".join(part for part in parts if part)
    return said or "holds a character that YAML does not allow"


def _merge(data: dict[str, Any], marks: dict[Path, Mark], tree: _Tree, faults: list[_Fault]) -> None:
    for key in tree.data:
        if key in data:
            first = marks[(key,)]
            faults.append(
                _Fault(
                    tree.marks[(key,)],
                    key,
                    f"is set in {first.file}:{first.line} already; keep it in one file",
                )
            )
    taken = set(data)
    marks.update({path: mark for path, mark in tree.marks.items() if path[0] not in taken})
    data.update({key: value for key, value in tree.data.items() if key not in taken})


class _Read(Generic[C]):
    """What could be read: all of it, or the rest when what was refused is left out or replaced."""

    def __init__(self, data: dict[str, Any], model: type[C]) -> None:
        self.config: C | None = None
        self.left_out: set[Path] = set()
        self.replaced: dict[Path, Any] = {}
        self._data = data
        self._model = model

    def attempt(self) -> list[Any]:
        """The faults of what is not left out, at the places where they were written."""
        try:
            self.config = self._model.model_validate(self._rest(self._data, ()))
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False)
            # A list that is too short only without its refused entries has no fault of its own.
            inner = {problem["loc"][:-1] for problem in problems}
            return [
                {**problem, "loc": self.as_written(problem["loc"])}
                for problem in problems
                if not (problem["type"] == "too_short" and problem["loc"] in inner)
            ]
        return []

    def without(self, problem: Any, marks: Mapping[Path, Mark]) -> bool:
        """Leave out what is at fault, or replace one of a few words by another. False when there is nothing to."""
        _, path = _locate(tuple(part for part in problem["loc"] if part != "[key]"), marks)
        while path in self.left_out:  # and now it is missed
            path = path[:-1]
        if not path:
            return False
        words = _quoted(problem["msg"]) if problem["type"] == "literal_error" else []
        if words and path not in self.replaced:
            self.replaced[path] = words[0]
        else:
            self.left_out.add(path)
        return True

    def _rest(self, value: Any, path: Path) -> Any:
        if path in self.replaced:
            return self.replaced[path]
        if isinstance(value, dict):
            return {
                k: self._rest(v, here) for k, v in value.items() if (here := (*path, k)) not in self.left_out
            }
        if isinstance(value, tuple):
            places = enumerate(value)
            return tuple(self._rest(v, here) for i, v in places if (here := (*path, i)) not in self.left_out)
        return value

    def as_written(self, path: Path) -> Path:
        """The path in the files of a path in the rest: places in a list move up when entries are left out."""
        lists = {each[:-1] for each in self.left_out if isinstance(each[-1], int)}
        found: Path = ()
        for part in path:
            if found in lists and isinstance(part, int):
                for gap in sorted(e[-1] for e in self.left_out if e[:-1] == found and isinstance(e[-1], int)):
                    part += gap <= part
            found = (*found, part)
        return found


def _validate(
    data: dict[str, Any],
    marks: Mapping[Path, Mark],
    model: type[C],
    faults: list[_Fault],
    absent: frozenset[str],
) -> "_Read[C]":
    """Every fault within values, and what is left to compare. ``absent``: sections of which nothing is known, since
    they may stand in a file that could not be read."""
    read = _Read(data, model)
    problems = read.attempt()
    for problem in problems:
        if not (problem["type"] == "missing" and problem["loc"][0] in absent):
            faults.append(_explain(problem, marks, model))
    rounds = ROUNDS_MAX if len(problems) <= PROBLEMS_MAX else 0
    while problems and rounds:
        rounds -= 1
        moved = [read.without(problem, marks) for problem in problems]
        if not any(moved):
            break
        problems = read.attempt()
    if read.config is None:  # the rest of the sections can still be judged between itself
        read.replaced.clear()
        read.left_out = {(part,) for part in {path[0] for path in read.left_out} | _sections(problems)}
        read.attempt()
    return read


def _sections(problems: list[Any]) -> set[str | int]:
    return {problem["loc"][0] for problem in problems if problem["loc"]}


def _explain(problem: Any, marks: Mapping[Path, Mark], model: type[BaseModel]) -> _Fault:
    location: Path = tuple(part for part in problem["loc"] if part != "[key]")
    mark, known = _locate(location, marks)
    kind, value = problem["type"], problem["input"]
    if kind == "missing" and location == ("version",):
        return _Fault(mark, "version", "is missing; one of the files says version: 1")
    if kind == "missing":
        return _Fault(mark, _render((*known, location[-1])), "is missing")
    if kind == "extra_forbidden":
        return _Fault(mark, _render(known), _unknown_key(str(location[-1]), _keys_at(model, location[:-1])))
    if kind == "union_tag_not_found":  # which of several models it is, says a key
        return _Fault(mark, _render((*known, _quoted(problem["msg"])[0])), "is missing")
    if kind == "union_tag_invalid":
        tag, key, *tags = _quoted(problem["msg"])
        mark, known = _locate((*known, key), marks)
        meant = did_you_mean(tag, tags)
        return _Fault(mark, _render(known), f"must be one of {', '.join(tags)}, got {_shorten(tag)}{meant}")
    reason = str(problem["msg"]).removeprefix("Value error, ")
    reason = reason[:1].lower() + reason[1:]
    if kind == "tuple_type":
        reason = "must be a list, such as [a, b]"
    if kind == "value_error" and (named := re.match(r"([a-z_]+(?:\.[a-z_]+)*): ", reason)):
        path = (*known, *named[1].split("."))
        if path in marks:  # a comparison within a section: point at the key that it names
            return _Fault(marks[path], _render(path), reason[named.end() :])
    if kind == "literal_error" and isinstance(value, str):
        return _Fault(
            mark,
            _render(known),
            f"{reason}, got {_shorten(value)}{did_you_mean(value, _quoted(problem['msg']))}",
        )
    if isinstance(value, str | int | float) or value is None:
        reason += f", got {_shorten(value)}"
    return _Fault(mark, _render(known), reason)


def _quoted(message: str) -> list[str]:
    """What stands in quotes in pydantic's words on unions told apart by a key."""
    return re.findall(r"'([^']*)'", message)


def _unknown_key(key: str, keys: list[str]) -> str:
    close = difflib.get_close_matches(key[:64], keys, n=1)
    if close:
        return f"unknown key; did you mean {close[0]}?"
    return f"unknown key; known here: {', '.join(keys)}" if keys else "unknown key"


def _keys_at(model: type[BaseModel], path: Path) -> list[str]:
    """The keys a model knows at a key path, empty where the path leads out of the models."""
    annotation: Any = model
    for part in path:
        chosen = _model_tagged(annotation, part)
        if chosen is not None:
            annotation = chosen
            continue
        owner = _model_in(annotation)
        if owner is not None and isinstance(part, str) and part in section_keys(owner):
            annotation = section_type(owner, part)
    owner = _model_in(annotation)
    return section_keys(owner) if owner is not None else []


def _model_tagged(annotation: Any, tag: object) -> type[BaseModel] | None:
    """Of several models, the one that has this value as a constant of its own."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        constants = (get_args(info.annotation) for info in annotation.model_fields.values())
        return annotation if any(each == (tag,) for each in constants) else None
    return next(
        (found for each in get_args(annotation) if (found := _model_tagged(each, tag)) is not None), None
    )


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a (list, mapping, optional) type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each)) is not None), None)


def _locate(path: Path, marks: Mapping[Path, Mark]) -> tuple[Mark, Path]:
    """The nearest place that stands in a file, skipping parts that only the models know."""
    known: Path = ()
    for part in path:
        if (*known, part) in marks:
            known = (*known, part)
    return marks[known], known


def _render(path: Path) -> str:
    """``("instruments", 0, "tick_size")`` → ``instruments[0].tick_size``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{_shorten(part)}" if text else _shorten(part)
    return text or "(top level)"


def _shorten(value: object) -> str:
    text = value if isinstance(value, str) and value.isprintable() and value else repr(value)
    return text if len(text) <= VALUE_TEXT_MAX else text[: VALUE_TEXT_MAX - 1] + "…"
