"""Why a decision is what it is: docs/explain.md."""
