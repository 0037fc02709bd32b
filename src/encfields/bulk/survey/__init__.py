"""Surveys: census, verification and sweeps, which change nothing."""
