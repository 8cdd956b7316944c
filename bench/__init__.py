"""What each promise costs, as CPU-seconds per unit, one JSON line a run."""
