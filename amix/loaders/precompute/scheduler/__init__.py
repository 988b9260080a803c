"""Where units are computed: in worker processes of this machine, or on a cluster of Ray. Both look the same."""
