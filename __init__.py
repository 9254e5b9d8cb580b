"""OADG: deep conditional simulation of categorical maps, as a QGIS plugin."""


def classFactory(iface):  # noqa: N802 - the name is QGIS's
    """Return the plugin object (called by QGIS when it loads the plugin)."""
    from .oadg_qgis.plugin import OadgPlugin

    return OadgPlugin(iface)
