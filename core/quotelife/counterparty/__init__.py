"""What quotes to a counterparty have come to, shrunk to its tier: fills, response times, markouts, sizes."""
