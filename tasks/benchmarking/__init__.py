"""What scripts/benchmark.py measures: this project beside what a user would pick instead, one process a run."""
