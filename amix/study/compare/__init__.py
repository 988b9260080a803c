"""Methods x heads x seeds x numbers of training texts, over corpora: the runs, their figures, and intervals."""
