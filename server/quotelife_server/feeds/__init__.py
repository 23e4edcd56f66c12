"""Live connections to venues: they connect, stay connected and hand events on; decoding is the core's."""
