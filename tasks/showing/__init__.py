"""What people look at: the page of scripts/demo.py, and the same page as a Space."""
