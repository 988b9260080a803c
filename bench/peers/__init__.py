"""What people use today in place of amix, as programs of their own."""
