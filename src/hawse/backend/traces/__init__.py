"""Traces in the backend: spans are kept column by column, with the bytes that came beside what searches need.

spans: OTLP → columns, and back. rows: the store's table. chunks: reading it. search, trace, counts, beside: answers;
questions: their parameters.
"""
