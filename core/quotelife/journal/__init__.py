"""What was decided, and everything that had a part in it, on disk: docs/journal.md describes the format."""
