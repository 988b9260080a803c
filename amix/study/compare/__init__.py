"""Methods x heads x seeds x training sizes over caches: the runs, what they amount to, and how sure that is."""
