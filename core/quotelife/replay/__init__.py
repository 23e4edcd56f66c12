"""Recorded inputs through the live engine, on their own clock; and held against what was decided then."""
