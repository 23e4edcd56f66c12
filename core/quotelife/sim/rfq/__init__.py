"""A seeded market of requests for quote: clients, informed takers and dealers over one simulated exchange."""
