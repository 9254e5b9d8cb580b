"""
A small hub on this computer that answers the official client as huggingface.co does, and fails on demand.

Large files (`*.safetensors`, `*.pt`) are served by a second server, as the hub's go through its content network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".pt")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_name(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class Hub:
    """
    Repositories, and how the hub misbehaves.

    `cut_after`, `stall_after`: bytes of a large file after which the connection ends, or nothing more comes.
    `tampers`: large files arrive with their last byte changed. `is_down`: every answer is 503. `is_mute`: there is
    none. `pace_s`: a pause after each 64 KiB.
    """

    def __init__(self) -> None:
        self.clear()
        self.servers = []
        for kind in (_Api, _Content):
            server = ThreadingHTTPServer(("127.0.0.1", 0), type(kind.__name__, (kind,), {"hub": self}))
            server.daemon_threads = True
            server.handle_error = lambda *_: None  # clients that hang up
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            self.servers.append(server)
        self.address, self.content_address = (f"http://127.0.0.1:{s.server_address[1]}" for s in self.servers)

    def clear(self) -> None:
        """Forget everything, and behave."""
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.refs: dict[str, dict[str, str]] = {}
        self.private: dict[str, str] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.cut_after = self.stall_after = None
        self.tampers = self.is_down = self.is_mute = False
        self.pace_s = 0.0
        self.released = threading.Event()

    def add(self, repository: str, files: dict[str, bytes], *, token: str = "", tag: str = "") -> str:
        """Add a commit to a repository; return its name."""
        commits = self.commits.setdefault(repository, {})
        commit = hashlib.sha1(repr((repository, len(commits), sorted(files))).encode()).hexdigest()
        commits[commit] = dict(files)
        self.refs.setdefault(repository, {})["main"] = commit
        if tag:
            self.refs[repository][tag] = commit
        if token:
            self.private[repository] = token
        self.stored.update({sha256(content): content for name, content in files.items() if name.endswith(LARGE)})
        return commit

    def main(self, repository: str) -> dict[str, bytes]:
        """Return the files of a repository's main branch."""
        return self.commits[repository][self.refs[repository]["main"]]

    def paths(self, method: str) -> list[str]:
        """Return what was asked for by a method."""
        return [path for how, path, _ in self.requests if how == method]

    def close(self) -> None:
        """End the servers."""
        self.released.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_any(self):
        self.hub.requests.append((self.command, unquote(urlsplit(self.path).path), self.headers.get("Authorization")))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.hub.is_mute:
            self.hub.released.wait(60)
            self.close_connection = True
        elif self.hub.is_down:
            self.reply(503, b"down for maintenance")
        else:
            self.answer(unquote(urlsplit(self.path).path))

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

    def answer(self, path):
        raise NotImplementedError

    def reply(self, status, content=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def reply_json(self, value, status=200):
        self.reply(status, json.dumps(value).encode(), Content_Type="application/json")

    def missing(self, what, status=404):
        self.reply(status, X_Error_Code=what, X_Error_Message=what)


class _Content(_Handler):
    """Where large files are; a signed address, so the token has no place here."""

    def answer(self, path):
        oid = path.strip("/")
        if self.command == "PUT":
            assert sha256(self.body) == oid
            self.hub.stored[oid] = self.body
            return self.reply(200)
        content = self.hub.stored[oid]
        if self.hub.tampers:
            content = content[:-1] + bytes([content[-1] ^ 1])
        first = int(re.match(r"bytes=(\d+)-", self.headers.get("Range") or "bytes=0-").group(1))
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        if self.command == "HEAD":
            return None
        limit = self.hub.cut_after if self.hub.cut_after is not None else self.hub.stall_after
        rest = content[first:] if limit is None else content[first:limit]
        for start in range(0, len(rest), 1 << 16):
            self.wfile.write(rest[start : start + (1 << 16)])
            self.hub.released.wait(self.hub.pace_s)
        self.wfile.flush()
        if self.hub.stall_after is not None:
            self.hub.released.wait(60)
        self.close_connection = limit is not None
        return None


class _Api(_Handler):
    """What huggingface.co answers."""

    def answer(self, path):
        if path == "/api/validate-yaml":
            text = json.loads(self.body)["content"]
            good = text.startswith("---\n") and "license:" in text.split("---")[1]
            return self.reply_json({"errors": [] if good else [{"message": "bad metadata"}], "warnings": []})
        if path == "/api/repos/create":
            return self.create(json.loads(self.body))
        for pattern, what in (
            (r"/api/models/(.+?)/revision/(.+)", self.describe),
            (r"/api/models/(.+?)/preupload/(.+)", self.preupload),
            (r"/api/models/(.+?)/commit/(.+)", self.commit),
            (r"/(.+)\.git/info/lfs/objects/(batch)", self.batch),
            (r"/(.+?)/resolve/([^/]+)/(.+)", self.resolve),
        ):
            match = re.fullmatch(pattern, path)
            if match:
                repository = match.group(1)
                token = self.hub.private.get(repository)
                if repository not in self.hub.commits or (token and not self.is_by(token)):
                    return self.missing("RepoNotFound", 401 if not self.headers.get("Authorization") else 404)
                return what(*match.groups())
        return self.reply(404)

    def is_by(self, token):
        return self.headers.get("Authorization") == f"Bearer {token}"

    def files_at(self, repository, revision):
        commit = self.hub.refs[repository].get(revision, revision)
        return commit, self.hub.commits[repository].get(commit)

    def describe(self, repository, revision):
        commit, files = self.files_at(repository, revision)
        if files is None:
            return self.missing("RevisionNotFound")
        siblings = []
        for name, content in files.items():
            sibling = {"rfilename": name, "size": len(content), "blobId": git_name(content)}
            if name.endswith(LARGE):
                sibling["blobId"] = git_name(b"a pointer")
                sibling["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(sibling)
        return self.reply_json({"id": repository, "sha": commit, "siblings": siblings})

    def resolve(self, repository, revision, name):
        commit, files = self.files_at(repository, revision)
        if files is None:
            return self.missing("RevisionNotFound")
        if name not in files:
            return self.missing("EntryNotFound")
        content = files[name]
        if not name.endswith(LARGE):
            return self.reply(200, content, ETag=f'"{git_name(content)}"', X_Repo_Commit=commit)
        return self.reply(
            302,
            ETag=f'"{git_name(b"a pointer")}"',
            X_Repo_Commit=commit,
            X_Linked_ETag=f'"{sha256(content)}"',
            X_Linked_Size=str(len(content)),
            Location=f"{self.hub.content_address}/{sha256(content)}",
        )

    def create(self, wanted):
        if not self.headers.get("Authorization"):
            return self.reply(401, b'{"error": "Invalid username or password."}')
        repository = f"{wanted['organization']}/{wanted['name']}"
        status = 409 if repository in self.hub.commits else 200
        if status == 200:
            self.hub.add(repository, {".gitattributes": b""})
            if wanted.get("private") or wanted.get("visibility") == "private":
                self.hub.private[repository] = self.headers["Authorization"].split()[1]
        return self.reply_json({"url": f"{self.hub.address}/{repository}"}, status)

    def preupload(self, repository, _):
        files = json.loads(self.body)["files"]
        modes = [("lfs" if f["path"].endswith(LARGE) else "regular", f["path"]) for f in files]
        self.reply_json({"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for m, p in modes]})

    def batch(self, *_):
        objects = json.loads(self.body)["objects"]
        for one in objects:
            one["actions"] = {"upload": {"href": f"{self.hub.content_address}/{one['oid']}"}}
        self.reply_json({"transfer": "basic", "objects": objects})

    def commit(self, repository, _):
        files = dict(self.hub.main(repository))
        for line in self.body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
        oid = self.hub.add(repository, files)
        url = f"{self.hub.address}/{repository}/commit/{oid}"
        self.reply_json({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})
