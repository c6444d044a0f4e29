"""A local Hub on loopback: the endpoints that huggingface_hub calls, over real HTTP.

It keeps repositories with commits and branches in memory. It serves small files itself, and weights from a
second port, as the Hub redirects them to its storage. Tests can make it fail. It does not announce xet.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".pt")
HTML = b"<!DOCTYPE html><html><head><title>Sign in to the network</title></head></html>\n" * 40


@dataclass
class Repository:
    """A repository: the files of each commit, by path, and the commit of each branch."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add files to a branch; return the commit."""
        whole = {**self.commits.get(self.branches.get(branch, ""), {}), **files}
        content = repr(sorted((path, hashlib.sha256(data).hexdigest()) for path, data in whole.items()))
        commit = hashlib.sha1(f"{content} {len(self.commits)}".encode()).hexdigest()
        self.commits[commit] = whole
        self.branches[branch] = commit
        return commit

    def resolved(self, revision: str) -> str | None:
        return self.branches.get(revision, revision if revision in self.commits else None)


@dataclass
class Fault:
    """A fault of the server: its kind, the requests that it hits, and how many of them."""

    kind: str
    method: str = "GET"
    path: str = ""
    times: int = 10**9


class Hub:
    """The server and its content. ``token`` gives access to private repositories, and allows writing."""

    token = "hf_loopback"

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.overtaken: dict[str, bytes] | None = None
        self.agents: set[str] = set()
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
        self.endpoint, self.storage = (f"http://127.0.0.1:{server.server_port}" for server in self.servers)

    def repository(self, name: str, **kwargs) -> Repository:
        return self.repositories.setdefault(name, Repository(**kwargs))

    def fails(self, kind: str, **kwargs) -> None:
        """Fail from now on, for requests whose path ends with ``path``."""
        self.faults.append(Fault(kind, **kwargs))

    def asked(self, method: str, path: str) -> int:
        """Return the number of requests of a method whose path matches a pattern."""
        return sum(m == method and re.search(path, p) is not None for m, p in self.requests)

    def fault_for(self, method: str, path: str) -> str | None:
        with self.lock:
            for fault in self.faults:
                if fault.method == method and path.endswith(fault.path) and fault.times > 0:
                    fault.times -= 1
                    return fault.kind
        return None


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that answers until the block ends."""
    hub = Hub()
    threads = [
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True) for server in hub.servers
    ]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server in hub.servers:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # a client that was killed or gave up
            super().handle()

    def do_HEAD(self) -> None:
        self._answer()

    do_GET = do_POST = do_PUT = do_HEAD  # noqa: N815

    # Answers

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, content: object, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), Content_Type="application/json")

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", X_Error_Code=code, X_Error_Message=code)

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.hub.lock:
            self.hub.requests.append((self.command, path))
            self.hub.agents.add(self.headers.get("User-Agent", ""))
        fault = self.hub.fault_for(self.command, path)
        if fault is not None and fault.isdigit():
            self._send(int(fault), b"the machine room is on fire")
        elif fault == "page":
            self._send(200, HTML, Content_Type="text/html")
        else:
            self._route(path, body, fault)

    def _route(self, path: str, body: bytes, fault: str | None) -> None:
        for pattern, method in (
            (r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)", self._resolve),
            (r"/storage/(?P<name>[^/]+/[^/]+)/(?P<digest>\w+)/(?P<file>.+)", self._stored),
            (r"/api/repos/create", self._create),
            (r"/api/validate-yaml", self._validate),
            (r"/api/models/(?P<name>[^/]+/[^/]+)/preupload/(?P<revision>.+)", self._preupload),
            (r"/api/models/(?P<name>[^/]+/[^/]+)/paths-info/(?P<revision>.+)", self._paths_info),
            (r"/api/models/(?P<name>[^/]+/[^/]+)/commit/(?P<revision>.+)", self._commit),
            (r"/api/models/(?P<name>[^/]+/[^/]+?)(/revision/(?P<revision>.+))?", self._info),
            (r"/(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            (r"/upload/(?P<digest>\w+)", self._upload),
        ):
            if match := re.fullmatch(pattern, path):
                method(body=body, fault=fault, **match.groupdict())
                return
        self._error(404, "NoSuchRoute")

    def _has_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def _repository(self, name: str) -> Repository | None:
        """Return a repository that the client may see; otherwise answer that there is none."""
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self._has_token()):
            self._error(404 if self._has_token() else 401, "RepoNotFound")
            return None
        if repository.gated and not self._has_token():
            self._error(401, "GatedRepo")
            return None
        return repository

    # Downloads

    def _resolve(self, name: str, revision: str, file: str, fault: str | None, **_: object) -> None:
        if (repository := self._repository(name)) is None:
            return None
        commit = repository.resolved(revision)
        if commit is None:
            return self._error(404, "RevisionNotFound")
        content = repository.commits[commit].get(file)
        if content is None:
            return self._send(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        common = {"X_Repo_Commit": commit}
        if not file.endswith(LARGE):
            return self._content(content, fault, ETag=f'"{git_sha1(content)}"', **common)
        digest = hashlib.sha256(content).hexdigest()
        self.hub.blobs[digest] = content
        return self._send(
            302,
            Location=f"{self.hub.storage}/storage/{name}/{digest}/{file}",
            ETag=f'"{git_sha1(content)}"',
            X_Linked_Etag=f'"{digest}"',
            X_Linked_Size=str(len(content)),
            **common,
        )

    def _stored(self, digest: str, fault: str | None, **_: object) -> None:
        self._content(self.hub.blobs[digest], fault, ETag=f'"{digest}"')

    def _content(self, content: bytes, fault: str | None, **headers: str) -> None:
        if fault == "wrong bytes":
            content = content[:-1] + bytes([content[-1] ^ 1])
        start, status = 0, 200
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start, status = int(match[1]), 206
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        part = content[start:]
        if fault not in ("cut", "slow") or self.command == "HEAD":
            return self._send(status, part, Accept_Ranges="bytes", **headers)
        self.send_response(status)
        for key, value in {"Content-Length": str(len(part)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if fault == "cut":
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return None
        pieces = 10
        for index in range(pieces):
            self.wfile.write(part[len(part) * index // pieces : len(part) * (index + 1) // pieces])
            self.wfile.flush()
            time.sleep(0.1)
        return None

    def _info(self, name: str, revision: str | None, **_: object) -> None:
        if (repository := self._repository(name)) is None:
            return None
        commit = repository.resolved(revision or "main")
        if commit is None and revision is not None:
            return self._error(404, "RevisionNotFound")
        files = repository.commits.get(commit or "", {})
        self._json(
            {
                "_id": "0",
                "id": name,
                "sha": commit,
                "private": repository.private,
                "siblings": [{"rfilename": path} for path in files],
                "tags": [],
                "downloads": 0,
                "likes": 0,
            }
        )
        return None

    def _paths_info(self, name: str, revision: str, body: bytes, **_: object) -> None:
        if (repository := self._repository(name)) is None:
            return None
        commit = repository.resolved(revision)
        if commit is None and revision != "main":
            return self._error(404, "RevisionNotFound")
        files = repository.commits.get(commit or "", {})
        form = json.loads(body) if body[:1] == b"{" else None
        paths = form["paths"] if form else re.findall(r"paths=([^&]+)", unquote(body.decode()))
        self._json([described(path, files[path]) for path in paths if path in files])
        return None

    # Uploads

    def _may_write(self) -> bool:
        if not self._has_token():
            self._error(401, "Unauthorized")
            return False
        return True

    def _create(self, body: bytes, **_: object) -> None:
        if not self._may_write():
            return
        form = json.loads(body)
        name = f"{form.get('organization') or 'somebody'}/{form['name']}"
        there = name in self.hub.repositories
        private = form.get("visibility") == "private" or bool(form.get("private"))
        self.hub.repository(name, private=private)
        self._json({"url": f"{self.hub.endpoint}/{name}", "name": name}, 409 if there else 200)

    def _validate(self, body: bytes, **_: object) -> None:
        content = json.loads(body)["content"]
        good = content.startswith("---\n") and "\n---\n" in content
        self._json(
            {"errors": [] if good else [{"message": "no metadata"}], "warnings": []}, 200 if good else 400
        )

    def _preupload(self, name: str, revision: str, body: bytes, **_: object) -> None:
        if not self._may_write() or (repository := self._repository(name)) is None:
            return
        files = repository.commits.get(repository.resolved(revision) or "", {})
        answer = []
        for file in json.loads(body)["files"]:
            path = file["path"]
            large = path.endswith(LARGE)
            there = files.get(path)
            answer.append(
                {
                    "path": path,
                    "uploadMode": "lfs" if large else "regular",
                    "shouldIgnore": False,
                    "oid": None if there is None else described(path, there)["oid_to_compare"],
                }
            )
        self._json({"files": answer})

    def _batch(self, body: bytes, **_: object) -> None:
        if not self._may_write():
            return
        objects = [
            {
                **item,
                "actions": {
                    "upload": {"href": f"{self.hub.storage}/upload/{item['oid']}", "header": {}},
                },
            }
            for item in json.loads(body)["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _upload(self, digest: str, body: bytes, **_: object) -> None:
        if hashlib.sha256(body).hexdigest() != digest:
            return self._send(400)
        self.hub.blobs[digest] = body
        return self._send(200)

    def _commit(self, name: str, revision: str, body: bytes, **_: object) -> None:
        if not self._may_write() or (repository := self._repository(name)) is None:
            return None
        if revision != "main" and repository.resolved(revision) is None:
            return self._error(404, "RevisionNotFound")
        if self.hub.overtaken is not None:
            repository.commit(self.hub.overtaken, revision)
        files: dict[str, bytes] = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            parent = value.get("parentCommit")
            if line["key"] == "header" and parent not in (None, repository.resolved(revision)):
                return self._error(412, "ParentCommitMismatch")
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
        pull = "create_pr=1" in (urlsplit(self.path).query or "")
        branch = f"refs/pr/{len(repository.branches)}" if pull else revision
        if pull:
            repository.branches[branch] = repository.branches.get(revision, "")
        commit = repository.commit(files, branch)
        url = f"{self.hub.endpoint}/{name}"
        answer = {"success": True, "commitOid": commit, "commitUrl": f"{url}/commit/{commit}"}
        if pull:
            answer["pullRequestUrl"] = f"{url}/discussions/1"
        self._json(answer)
        return None


def git_sha1(content: bytes) -> str:
    """Return git's hash of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def described(path: str, content: bytes) -> dict:
    """Return what the Hub answers about a file in paths-info."""
    entry: dict = {"type": "file", "path": path, "size": len(content), "oid": git_sha1(content)}
    entry["oid_to_compare"] = entry["oid"]
    if path.endswith(LARGE):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
        entry["oid_to_compare"] = digest
    return entry
