"""What a record of changes says, in the engine's own terms."""

import json
from typing import Any

from quotelife.config import Config
from quotelife.errors import QuotelifeError


def read_config(payload: dict[str, Any]) -> Config:
    """The configuration in an engine's ``config_payload()``; sections that are not the engine's are left out.

    Raises ``QuotelifeError`` when this build refuses it.
    """
    known = {info.alias or name for name, info in Config.model_fields.items()}
    fields = {key: value for key, value in payload["config"].items() if key in known}
    try:
        return Config.model_validate_json(json.dumps(fields))
    except ValueError as error:
        raise QuotelifeError(
            f"the recorded configuration {payload['digest'][:12]} is none of this build's: {error}; "
            f"use the version of quotelife that recorded it"
        ) from None
