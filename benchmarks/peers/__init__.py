"""
The peers that a model of a training image is measured against, each in an environment of its own.

Their packages ask for another numpy than QGIS has. So a peer is a command of that environment's Python,
`python -m benchmarks.peers.NAME job.npz result.npz`, and imports nothing of `oadg`: a job and a result are all that the
two sides share (`contract`). `make peers` makes the environment from `requirements.txt`.
"""
