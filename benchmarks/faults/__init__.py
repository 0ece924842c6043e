"""Strikes real sweeps with faults of many kinds at random, and compares them with undisturbed ones."""
