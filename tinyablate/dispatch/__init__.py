"""Handing out a run's jobs and taking in what comes of them, whoever computes them."""
