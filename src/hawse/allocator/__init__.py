"""The target allocator: discovers scrape targets through the Kubernetes API and shares them out among collectors."""
