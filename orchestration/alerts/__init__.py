"""Alerts: what anomalies, budgets and runs have to tell, sent once to each channel that is to hear it."""
