"""Bytes to rows with the task's columns."""
