"""Public training images by name: fetched once, and only if the file is what it should be."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping

from ..contract.errors import JobError

PATIENCE_S = 30.0
"""How long nothing may come."""
_CHUNK = 1 << 16


@dataclass(frozen=True)
class PublicImage:
    """
    A training image on the web.

    Parameters
    ----------
    url, sha256 : str
        Where it is, and what its checksum must be.
    styles : mapping
        Code to (name, colour).
    unit : int
        By which the picture's values are divided to give codes.
    symmetry, origin : str
        As `TrainingImage` has them.
    licence : str
        SPDX identifier.
    """

    url: str
    sha256: str
    styles: Mapping[int, tuple[str, str]]
    unit: int
    symmetry: str
    origin: str
    licence: str


PUBLIC_IMAGES = {
    "channels": PublicImage(
        url="https://raw.githubusercontent.com/elaloy/gan_for_gradient_based_inv/master/training/ti/ti.png",
        sha256="a138be025008c65e4bbf236ca4c520c0823e37cd67bbcbb367d4e8c8b1dccf47",  # pragma: allowlist secret
        styles={0: ("background", "#f0e2b6"), 1: ("channel", "#2f6690")},
        unit=255,
        symmetry="half turn",
        origin="Sinuous channels, 2500 x 2500 cells (elaloy/gan_for_gradient_based_inv, training/ti/ti.png, MIT)",
        licence="MIT",
    ),
}


def public_image_in(path: Path) -> PublicImage | None:
    """Return which public image a file is, whatever it is called; None when it is none."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return next((image for image in PUBLIC_IMAGES.values() if image.sha256 == sha256), None)


def fetch(image: PublicImage, target: Path) -> None:
    """
    Download an image; the file is there at once and whole, or not at all.

    Parameters
    ----------
    image : PublicImage
        Which one.
    target : Path
        Where it goes; its folder is made.

    Raises
    ------
    JobError
        When it cannot be had or written, or is another file.
    """
    part = target.with_name(f"{target.name}.part")
    digest = hashlib.sha256()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(image.url, timeout=PATIENCE_S) as answer, open(part, "wb") as file:
            while chunk := answer.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != image.sha256:
            raise JobError(
                f"The checksum (SHA-256) of {image.url} is {digest.hexdigest()}, and not {image.sha256}: the file was "
                "cut on its way, or is another one by now. Nothing was kept. Try again, or give the path of a file."
            )
        os.replace(part, target)
    except urllib.error.HTTPError as error:
        raise JobError(
            f"{image.url} cannot be had: the server answers {error.code} {error.reason}. Fetch the file elsewhere, and "
            "give its path."
        ) from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise JobError(
            f"{image.url} cannot be reached, or breaks off: {getattr(error, 'reason', error)}. Check the network and "
            "the proxy (HTTPS_PROXY); or fetch the file elsewhere, and give its path."
        ) from error
    except OSError as error:
        raise JobError(f"{target} cannot be written: {error.strerror or error}. Choose another folder.") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
