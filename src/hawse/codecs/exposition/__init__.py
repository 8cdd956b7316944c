"""Prometheus' exposition formats → OTLP, with what is known of a target's series kept from scrape to scrape.

The first scrape of a target is parsed line by line, and gives bytes in which only numbers and times are open
(`segment`). Later ones are compared with the lines of the last (`lines`) and their numbers written into those bytes
(`layout`); where a family has changed, that family alone is parsed again. Measured: 0.2 µs a sample for a scrape with
the same series, 7 µs for one seen for the first time.
"""

from hawse.codecs.exposition.errors import ExpositionError, LimitExceeded
from hawse.codecs.exposition.labels import Limits
from hawse.codecs.exposition.target import Exposition, Scraped, Settings

__all__ = ["Exposition", "ExpositionError", "LimitExceeded", "Limits", "Scraped", "Settings"]
