"""What operators see: the API, the page, the metrics, the audit."""
