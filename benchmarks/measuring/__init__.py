"""The services, consumers and clocks of the benchmarks."""
