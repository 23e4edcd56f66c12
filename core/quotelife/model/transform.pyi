from collections.abc import Sequence
from typing import Any

TRANSFORMS: tuple[str, ...]

def check_keys(mapping: Any, keys: Sequence[str], where: str) -> None: ...
def apply(name: str, x: float) -> float: ...
