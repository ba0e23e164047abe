"""Metrics that are right for Korean, as ``evaluate.Metric`` classes that need no network."""
