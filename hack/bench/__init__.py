"""The benchmark suite: ``make bench`` writes docs/benchmarks.md."""
