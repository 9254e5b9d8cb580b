"""What two-point statistics tell: covariances, indicator kriging, truncated Gaussian fields."""
