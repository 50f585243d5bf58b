"""The queue of rebuilds: jobs, leases, and what became of them, on SQLite or PostgreSQL."""
