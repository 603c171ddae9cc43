"""Do the scores rank videos that are known to be worse below those known to be better? Declared by metric, measured on simulated clips."""
