"""The bench of samplers runs, and measures what it says."""

import asyncio

from bench import sampling
from hawse.batch import Signal
from hawse.codecs import otlp
from hawse.processors import tail_sampling


def test_a_short_run():
    bodies = list(sampling.requests(150))
    assert [otlp.decode(Signal.TRACES, body).items for body in bodies] == [1000, 500]
    config = sampling._config(sampling.TailConfig, sampling.TAIL)
    found = asyncio.run(sampling.measure(tail_sampling.TailSampling, config, bodies))
    assert 0.05 < found["kept"] < 0.3
    assert 0 < found["cpu_s_per_million"] < 1000
