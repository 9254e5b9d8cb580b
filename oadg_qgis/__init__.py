"""The QGIS adapter: parameters in, layers out. It never imports torch."""
