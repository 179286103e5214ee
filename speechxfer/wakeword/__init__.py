"""Wake-word detectors: from a word to scores, events, and false alarms an hour."""
