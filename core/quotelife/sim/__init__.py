"""Seeded simulation of a venue: order flow, books, news shocks, and the venue's own wire format."""
