"""What people look at, or let run for them."""
