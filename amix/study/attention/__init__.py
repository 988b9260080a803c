"""What heads attend to, and their ranking by training with each of them."""
