"""What Prometheus' scrape configuration means: its settings, relabelling, target discovery. No scraping here.

The `prometheus` receiver and the target allocator build on it.
"""
