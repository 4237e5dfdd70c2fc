"""Container images of a locked project: what goes into one, the files that build it, and Dockerfiles that are there already."""
