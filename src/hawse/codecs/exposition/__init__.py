"""Prometheus' exposition formats → OTLP, with what is known of a target's series kept from scrape to scrape."""
