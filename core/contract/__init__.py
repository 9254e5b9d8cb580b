"""What QGIS and the engine share: grids, facies, data, jobs and results. Needs numpy only."""
