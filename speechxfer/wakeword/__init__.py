"""Wake-word detection: train, calibrate, evaluate and run small streaming detectors."""
