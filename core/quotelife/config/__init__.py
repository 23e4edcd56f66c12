"""Configuration: YAML in, one frozen, fully checked model out."""

from quotelife.config.loader import load_config
from quotelife.config.schema import Config

__all__ = ["Config", "load_config"]
