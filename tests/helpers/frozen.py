"""Whoever imports this last lets later collections of garbage pass over all that was imported before."""

import gc

gc.collect()
gc.freeze()
