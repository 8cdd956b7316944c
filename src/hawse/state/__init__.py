"""State on disk: SQLite in WAL mode, one file per process."""
