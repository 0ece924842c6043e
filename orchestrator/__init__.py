"""Runs parareal networks on Ray: actors, trials, sweeps and their result store."""
