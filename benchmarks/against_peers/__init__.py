"""A model of a training image and its peers at the same job, in one run: `make bench-peers IMAGE=file MODEL=file`."""
