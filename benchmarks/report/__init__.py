"""The page of the documentation that shows what the benchmarks measured: docs/benchmarks.md."""
