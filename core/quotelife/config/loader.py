"""YAML files to one Config, or every fault at once as ``file:line: key.path: reason``.

The YAML taken is the plain part that people write: mappings, sequences and scalars, one document a file.
Scalars follow YAML 1.2 (``on`` is text, ``08:30`` is text, ``010`` is ten). Anchors, aliases, tags and
complex keys are refused, so a small file cannot grow into a large one and no value means other than it says.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any, NamedTuple, TypeVar, get_args, overload

import yaml
from pydantic import BaseModel, ValidationError

from quotelife.config.checks import Path, find_problems
from quotelife.config.schema import Config, section_keys, section_type
from quotelife.errors import ConfigError

FILE_BYTES_MAX = 8 * 1024 * 1024
FILES_MAX = 64
DEPTH_MAX = 16
VALUE_TEXT_MAX = 60

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
    config, unread = _validate(data, marks, model, faults)
    if config is not None:
        for key_path, reason in find_problems(config, unread):
            mark, known = _locate(key_path, marks)
            faults.append(_Fault(mark, _render(known), reason))
    if faults or config is None:
        ordered = sorted(set(faults))
        raise ConfigError(
            [f"{fault.mark.file}:{fault.mark.line}: {fault.key}: {fault.reason}" for fault in ordered]
        )
    return config


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
            self._faults.append(_Fault(self._syntax_mark(error), "yaml", _syntax_reason(error)))
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


def _validate(
    data: dict[str, Any], marks: Mapping[Path, Mark], model: type[C], faults: list[_Fault]
) -> tuple[C | None, frozenset[str]]:
    """The model, and the sections whose values are unknown: refused, or in a file that could not be read."""
    absent = frozenset(section_keys(model)).difference(data) if faults else frozenset()
    try:
        return model.model_validate(data), absent
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
    for problem in problems:
        if not (problem["type"] == "missing" and problem["loc"][0] in absent):
            faults.append(_explain(problem, marks, model))
    refused = frozenset(str(problem["loc"][0]) for problem in problems if problem["loc"])
    # The rest can still be judged between itself, unless the model insists on a section that was refused.
    rest = {key: value for key, value in data.items() if key not in refused}
    try:
        return model.model_validate({"version": 1, **rest}), absent | refused
    except ValidationError:
        return None, refused


def _explain(problem: Any, marks: Mapping[Path, Mark], model: type[BaseModel]) -> _Fault:
    location: Path = tuple(part for part in problem["loc"] if part != "[key]")
    mark, known = _locate(location, marks)
    kind, value = problem["type"], problem["input"]
    if kind == "missing":
        return _Fault(mark, _render((*known, location[-1])), "is missing")
    if kind == "extra_forbidden":
        return _Fault(mark, _render(known), _unknown_key(str(location[-1]), _keys_at(model, location[:-1])))
    if kind == "union_tag_not_found":  # which of several models it is, says a key
        return _Fault(mark, _render((*known, _quoted(problem["msg"])[0])), "is missing")
    if kind == "union_tag_invalid":
        tag, key, *tags = _quoted(problem["msg"])
        mark, known = _locate((*known, key), marks)
        return _Fault(mark, _render(known), f"must be one of {', '.join(tags)}, got {_shorten(tag)}")
    reason = str(problem["msg"]).removeprefix("Value error, ")
    reason = reason[:1].lower() + reason[1:]
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
