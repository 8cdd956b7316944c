"""bytes ↔ batches, without I/O."""
