"""
Models on a Hugging Face hub, from the command line.

    python -m oadg.core.hub install USER/NAME [--revision main] [--file FILE] [--sha256 …] [--folder models]
    python -m oadg.core.hub publish MODEL.safetensors USER/NAME [--private]
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from ..contract.errors import OadgError
from ..contract.hub_job import InstallJob
from .install import install_model
from .publish import publish_model


def main(arguments: list[str] | None = None) -> int:
    """Install or publish from the command line; errors are told in a sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m oadg.core.hub", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    install = commands.add_parser("install", help="fetch a model, and check it")
    install.add_argument("repository", help="USER/NAME; or a file or folder of this computer")
    install.add_argument("--revision", default="main", help="commit, tag or branch")
    install.add_argument("--file", default="", help="which file, where there are several models")
    install.add_argument("--name", default="", help="by which it will be listed; its own by default")
    install.add_argument("--sha256", default="", help="what its checksum must be")
    install.add_argument("--folder", default="models", help="where models are")
    install.add_argument("--replace", action="store_true", help="replace a model of that name")
    publish = commands.add_parser("publish", help="upload a model with its card; HF_TOKEN says who you are")
    publish.add_argument("model", type=Path, help="model file")
    publish.add_argument("repository", help="USER/NAME")
    publish.add_argument("--private", action="store_true", help="a new repository is seen by its owner only")
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        if asked.command == "publish":
            logging.info("Making the card and a picture, then uploading")
            logging.info("Published: %s", publish_model(asked.model, asked.repository, private=asked.private))
        else:
            logging.info("Installed: %s", _install(asked))
    except OadgError as error:
        logging.error("%s", error)
        return 1
    return 0


def _install(asked: argparse.Namespace) -> str:
    """Install what the command line asks for, and return what came of it."""
    where = "source" if Path(asked.repository).exists() else "repository"
    job = InstallJob(
        model_folder=asked.folder,
        work_folder="",
        revision=asked.revision,
        file=asked.file,
        name=asked.name,
        sha256=asked.sha256,
        replace=asked.replace,
        **{where: asked.repository},
    )
    told = ""

    def tell(fraction: float, text: str) -> None:
        nonlocal told
        if text != told:
            logging.info("%s", text)
        told = text

    result = install_model(job, tell)
    return f"{result.model_id} from {result.origin}: {result.model_path}, SHA-256 {result.sha256}"


if __name__ == "__main__":
    sys.exit(main())
