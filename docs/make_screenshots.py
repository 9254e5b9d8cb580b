"""
Make the pictures of the README from a real QGIS window: `python3 docs/make_screenshots.py`.

Needs QGIS, Xvfb (`xvfb-run`), an engine (`make env`) and, for the picture of the report, Chromium. It starts QGIS with
a profile of its own and this very file as start-up script: it opens the Jura example, shows the dialog, runs it, shows
the result, the errors of a cross-validation and the model designer. Most pictures come out as the same files, bit by
bit, and then git shows no change; one that could not be taken is an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(os.environ.get("OADG_ROOT") or Path(__file__).resolve().parents[1])
IMAGES = ROOT / "docs" / "images"
REPORT = ROOT / "build" / "report.html"
INSIDE_QGIS = "OADG_SCREENSHOTS"
LIMIT_S = 1200
PICTURES = ("dialog.png", "result.png", "errors.png", "model_designer.png")

_SETTINGS = """\
[app]
first_run_finished=true

[qgis]
checkVersion=false
showTips=false
newsFeedEnabled=false

[app.windows]
hidden=true

[core]
NewsFeed\\httpsfeedqgisorg\\disabled=true

[PythonPlugins]
oadg=true
processing=true
"""


def start_qgis() -> int:
    """Run QGIS on a virtual screen with this file as its start-up script; return its exit status."""
    python = os.environ.get("OADG_ENGINE_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
    IMAGES.mkdir(parents=True, exist_ok=True)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.unlink(missing_ok=True)
    started = time.time()
    with tempfile.TemporaryDirectory(prefix="oadg-screenshots-") as folder:
        home = Path(folder)
        (home / "plugins").mkdir()
        (home / "plugins" / "oadg").symlink_to(ROOT, target_is_directory=True)
        (home / "runtime").mkdir(mode=0o700)
        settings = home / "profiles" / "default" / "QGIS" / "QGIS3.ini"
        settings.parent.mkdir(parents=True)
        settings.write_text(_SETTINGS)
        environment = {
            **os.environ,
            # QGIS's Python looks for its library beside the first python3 of the path, which must be the system's.
            "PATH": f"/usr/bin:/bin:{os.environ['PATH']}",
            "OADG_ENGINE_PYTHON": python,
            "OADG_ROOT": str(ROOT),
            INSIDE_QGIS: "1",
            "QGIS_PLUGINPATH": str(home / "plugins"),
            "XDG_RUNTIME_DIR": str(home / "runtime"),
        }
        environment.pop("QT_QPA_PLATFORM", None)
        command = ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24", "qgis", "--nologo", "--noversioncheck"]
        command += ["--profiles-path", str(home), "--code", str(Path(__file__).resolve())]
        status = subprocess.run(command, env=environment, timeout=LIMIT_S + 60, check=False).returncode
    missing = [name for name in PICTURES if not is_newer(IMAGES / name, started)]
    if missing:
        raise SystemExit(f"QGIS ended with status {status} before it had taken {', '.join(missing)}.")
    return status


def is_newer(file: Path, started: float) -> bool:
    """Return whether a file was written since then; a second is left for coarse clocks."""
    return file.is_file() and file.stat().st_mtime > started - 1


def photograph_report() -> None:
    """Take the picture of the report's beginning with Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise SystemExit(
            f"There is no Chromium, and {IMAGES / 'report.png'} is as it was. Install it, and run this again."
        )
    size, picture = "--window-size=1000,770", f"--screenshot={IMAGES / 'report.png'}"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    subprocess.run([browser, *options, size, picture, REPORT.as_uri()], capture_output=True, check=True)


class Photographer:
    """Takes the pictures one after the other; QGIS's event loop runs between the steps."""

    def __init__(self) -> None:
        from qgis.utils import iface

        self.iface = iface
        self.steps = [self.open_example, self.show_dialog, self.run, self.wait_for_result, self.show_result]
        self.steps += [self.validate, self.wait_for_errors, self.show_errors, self.open_designer, self.show_designer]

    def next(self) -> None:
        """Take the next step; a step that returns True is repeated a little later."""
        from qgis.PyQt.QtCore import QTimer

        if not self.steps:
            self.quit(0)
        try:
            again = self.steps[0]()
        except Exception:  # whatever it is: tell it, and leave QGIS
            traceback.print_exc()
            self.quit(1)
        if not again:
            self.steps.pop(0)
        QTimer.singleShot(1500, self.next)

    def quit(self, status: int) -> None:
        """Leave QGIS without its question whether to save."""
        from oadg.oadg_qgis.engine_client import close_idle_engines

        close_idle_engines()
        sys.stdout.flush()
        os._exit(status)

    def save(self, widget, name: str) -> None:
        """Save a window as a picture."""
        widget.grab().save(str(IMAGES / name))

    def open_example(self) -> None:
        """Open the observations and the survey area."""
        from qgis.core import QgsProject, QgsVectorLayer
        from qgis.PyQt.QtWidgets import QDockWidget

        window = self.iface.mainWindow()
        window.resize(1600, 1000)
        for dock in window.findChildren(QDockWidget):
            dock.setVisible(dock.objectName() == "Layers")
        source = ROOT / "resources" / "examples" / "jura.gpkg"
        for name, title in (("survey_area", "Survey area"), ("observations", "Observations")):
            layer = QgsVectorLayer(f"{source}|layername={name}", title, "ogr")
            QgsProject.instance().addMapLayer(layer)
        QgsProject.instance().setCrs(layer.crs())
        self.observations = layer
        self.iface.mapCanvas().setExtent(layer.extent().buffered(300))
        self.iface.mapCanvas().refresh()

    def show_dialog(self) -> None:
        """Open the algorithm's dialog, filled in."""
        import processing
        from qgis.core import QgsProject

        layers = QgsProject.instance()
        self.dialog = processing.createAlgorithmDialog(
            "oadg:simulatefacies",
            {
                "OBSERVATIONS": self.observations.id(),
                "FACIES_FIELD": "rock",
                "MASK": layers.mapLayersByName("Survey area")[0].id(),
                "CELL_SIZE": 50,
            },
        )
        self.dialog.resize(1050, 830)
        self.dialog.show()

    def run(self) -> None:
        """Take the dialog's picture and press its button."""
        from qgis.PyQt.QtWidgets import QLineEdit

        for edit in self.dialog.findChildren(QLineEdit):
            edit.deselect()
        self.save(self.dialog, "dialog.png")
        self.dialog.runButton().click()

    def wait_for_result(self) -> bool:
        """Return whether to wait longer for the four rasters."""
        from qgis.core import QgsProject, QgsRasterLayer

        rasters = [layer for layer in QgsProject.instance().mapLayers().values() if isinstance(layer, QgsRasterLayer)]
        if len(rasters) < 4:
            return True
        self.dialog.close()
        self.arrange(rasters)
        return False

    def arrange(self, rasters) -> None:
        """Put the entropy on top, under the observations, with its legend open."""
        from qgis.core import QgsProject

        root = QgsProject.instance().layerTreeRoot()
        order = ["Survey area", "Probabilities", "Most probable facies", "Realizations", "Entropy", "Observations"]
        for title in order:
            layer = QgsProject.instance().mapLayersByName(title)[0]
            node = root.findLayer(layer.id())
            copy = node.clone()
            root.insertChildNode(0, copy)
            root.removeChildNode(node)
            copy.setItemVisibilityChecked(title in ("Entropy", "Observations"))
            copy.setExpanded(title in ("Entropy", "Realizations"))
        self.iface.mapCanvas().setExtent(rasters[0].extent().buffered(200))
        self.iface.mapCanvas().refreshAllLayers()

    def show_result(self) -> bool:
        """Take the main window's picture with the entropy."""
        return self.show_window("result.png")

    def show_window(self, name: str) -> bool:
        """Take the main window's picture; return whether to wait longer, for the map is not drawn yet."""
        if self.iface.mapCanvas().isDrawing():
            return True
        self.iface.messageBar().clearWidgets()
        self.save(self.iface.mainWindow(), name)
        return False

    def validate(self) -> None:
        """Cross-validate in the algorithm's dialog."""
        import processing

        parameters = {"OBSERVATIONS": self.observations.id(), "FACIES_FIELD": "rock", "CELL_SIZE": 50}
        self.dialog = processing.createAlgorithmDialog("oadg:crossvalidate", {**parameters, "REPORT": str(REPORT)})
        self.dialog.resize(1050, 830)
        self.dialog.show()
        self.dialog.runButton().click()

    def wait_for_errors(self) -> bool:
        """Return whether to wait longer for the points; then show them alone in the survey area."""
        from qgis.core import QgsProject
        from qgis.PyQt.QtWidgets import QDockWidget

        project = QgsProject.instance()
        if not project.mapLayersByName("Errors"):
            return True
        self.dialog.close()
        for dock in self.iface.mainWindow().findChildren(QDockWidget):
            dock.setVisible(dock.objectName() == "Layers")  # the results viewer has come up
        for node in project.layerTreeRoot().findLayers():
            node.setItemVisibilityChecked(node.name() in ("Errors", "Survey area"))
            node.setExpanded(node.name() == "Errors")
        self.iface.mapCanvas().refreshAllLayers()
        return False

    def show_errors(self) -> bool:
        """Take the main window's picture with the errors."""
        return self.show_window("errors.png")

    def open_designer(self) -> None:
        """Open the shipped model in the model designer."""
        from processing.modeler.ModelerDialog import ModelerDialog

        self.designer = ModelerDialog()
        self.designer.loadModel(str(ROOT / "resources" / "workflows" / "uncertain_zones.model3"))
        self.designer.resize(1600, 1000)
        self.designer.show()

    def show_designer(self) -> None:
        """Take the model designer's picture."""
        from qgis.PyQt.QtCore import Qt

        view = self.designer.view()
        view.fitInView(view.scene().itemsBoundingRect(), Qt.AspectRatioMode.KeepAspectRatio)
        self.save(self.designer, "model_designer.png")


if os.environ.get(INSIDE_QGIS):
    from qgis.PyQt.QtCore import QTimer

    photographer = Photographer()
    QTimer.singleShot(4000, photographer.next)
    QTimer.singleShot(1000 * LIMIT_S, lambda: photographer.quit(1))
elif __name__ == "__main__":
    status = start_qgis()
    photograph_report()
    raise SystemExit(status)
