from typing import NamedTuple

SCHEMA_VERSION: int

class FeatureSpec(NamedTuple):
    index: int  # type: ignore[assignment]
    name: str
    unit: str
    window_ns: int
    signed: bool
    text: str

SCHEMA: tuple[FeatureSpec, ...]
NAMES: tuple[str, ...]
INDEX: dict[str, int]
SCHEMA_HASH: str
