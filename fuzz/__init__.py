"""Feeds every decoder that a stranger can reach with inputs that nobody would send on purpose: see docs/limits.md.

`python -m fuzz` runs the targets, `python -m fuzz.minimise` keeps the corpus small. Where atheris (libFuzzer for
Python) is installed it drives, guided by coverage; elsewhere a seeded mutator of our own does, and the result says so.
"""
