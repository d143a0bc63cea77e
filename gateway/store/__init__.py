"""The only place that knows Redis. Start with ``layout``: every key, who writes it, who trims it."""
