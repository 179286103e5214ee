"""Training and calibration data of a detector: recordings, synthetic speech, augmentation."""
