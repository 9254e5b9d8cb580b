"""A public image is fetched whole and unchanged, or not at all."""

import dataclasses
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from oadg.core.contract.errors import JobError
from oadg.core.training import public_images
from oadg.core.training.public_images import PUBLIC_IMAGES, fetch, public_image_in

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def server():
    """A server on this computer, whose answer is `server.answer`: (status, body, length that it promises)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body, length = self.server.answer
            if status is None:
                return self.server.released.wait(30)
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)
            return None

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.released = True, threading.Event()
    server.answer = (200, CONTENT, len(CONTENT))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def image(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    url = f"http://127.0.0.1:{server.server_address[1]}/ti.png"
    return dataclasses.replace(PUBLIC_IMAGES["channels"], url=url, sha256=hashlib.sha256(CONTENT).hexdigest())


def test_an_image_is_fetched(image, tmp_path, monkeypatch):
    target = tmp_path / "images" / "channels.png"
    fetch(image, target)
    assert target.read_bytes() == CONTENT
    assert [file.name for file in target.parent.iterdir()] == [target.name]
    monkeypatch.setitem(PUBLIC_IMAGES, "channels", image)
    assert public_image_in(target) is image
    target.write_bytes(CONTENT[1:])
    assert public_image_in(target) is None


def refused(image, tmp_path, message):
    target = tmp_path / "images" / "channels.png"
    with pytest.raises(JobError, match=message):
        fetch(image, target)
    assert not list(tmp_path.rglob("*.p*")), "neither the file nor a part of it"


def test_another_file_is_refused(image, tmp_path):
    other = dataclasses.replace(image, sha256=PUBLIC_IMAGES["channels"].sha256)
    refused(other, tmp_path, r"checksum \(SHA-256\) of http.* is \w{64}, and not a138be02.* Nothing was kept")


def test_a_file_that_is_cut_is_refused(image, tmp_path, server):
    server.answer = (200, CONTENT[:70_000], len(CONTENT))
    refused(image, tmp_path, "The checksum|breaks off")


@pytest.mark.parametrize("status", [404, 503])
def test_what_the_server_answers_is_told(image, tmp_path, server, status):
    server.answer = (status, b"", 0)
    refused(image, tmp_path, f"cannot be had: the server answers {status}.* Fetch the file elsewhere")


def test_a_server_that_is_not_there_is_told(image, tmp_path, server):
    server.shutdown()
    server.server_close()
    refused(image, tmp_path, r"cannot be reached, or breaks off: .*refused.* Check the network and the proxy")


def test_a_server_that_says_nothing_is_told(image, tmp_path, server, monkeypatch):
    monkeypatch.setattr(public_images, "PATIENCE_S", 0.2)
    server.answer = (None, b"", 0)
    refused(image, tmp_path, "cannot be reached, or breaks off: .*timed out")


def test_a_folder_that_cannot_be_written_is_told(image, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(JobError, match=r"channels.png cannot be written: File exists. Choose another folder"):
        fetch(image, tmp_path / "file" / "channels.png")
