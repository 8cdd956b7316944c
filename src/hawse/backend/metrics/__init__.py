"""Metrics as the backend keeps them: series with their labels, and samples of them in columns.

`points` and `histograms` (OTLP) and `text` (Prometheus text) make samples of what arrives, `registry` gives series
their numbers, `samples` is how the store keeps them; `selector`, `select`, `listing` and `plot` answer questions.
"""
