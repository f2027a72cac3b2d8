"""What every task's measures share: resampling, clusters, intervals, and the comparison of two models."""
