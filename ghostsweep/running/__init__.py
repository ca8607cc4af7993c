"""Running a sweep: what is left of it, who trains it (here, in shards, on a cluster), how it stands, what it takes."""
