"""What heads attend to, and the profile over layers."""
