"""Campaign files to run and copy; scripts that build reference data and benchmarks."""
