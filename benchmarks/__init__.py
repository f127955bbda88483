"""cutler and its peers on the same files, the same weights and the same two threads, in one run."""
