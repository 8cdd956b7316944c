"""What samplers have in common: traces that are held until they are decided, limits of rates, and the thresholds of
consistent probability sampling (OpenTelemetry's specification/trace/tracestate-probability-sampling.md).
"""
