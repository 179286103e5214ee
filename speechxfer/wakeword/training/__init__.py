"""Training of a detector: loop, hard-negative mining, calibration."""
