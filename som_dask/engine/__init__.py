"""Best matching units and sums of one block of samples, on a CPU or a GPU."""
