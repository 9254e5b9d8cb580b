"""The science of OADG: categorical conditional simulation with numpy and torch, without Qt, GDAL or QGIS."""
