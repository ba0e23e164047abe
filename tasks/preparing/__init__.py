"""Rows to token ids."""
