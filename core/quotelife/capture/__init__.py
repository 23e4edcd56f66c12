"""The inputs of an engine on disk, in the one order in which they were applied."""
