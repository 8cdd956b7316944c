"""What exporters of OTLP have in common, whatever they send it over."""
