"""Hawse takes logs, metrics, traces and events out of locked-down Kubernetes clusters."""

__version__ = "0.1.0"
