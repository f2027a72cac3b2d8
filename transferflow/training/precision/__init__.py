"""Which precision a training computes in on a CPU: a trial measures both, and the whole training decides."""
