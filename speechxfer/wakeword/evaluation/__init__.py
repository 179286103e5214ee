"""Evaluation of a detector: misses, false alarms per hour, DET curve, report."""
