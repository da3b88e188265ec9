"""The history of runs: one SQLite file, what can be read from it, and who is to blame for what."""
