"""One command for each figure of docs/benchmarks.md."""
