"""A double of a NameNode's REST API (WebHDFS 1.0, Hadoop 3): no real one can run here.

It answers what fsspec's client asks, two-step OPEN and CREATE with redirects included, from memory.
"""

from __future__ import annotations

import http.server
import json
import threading
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["NameNode"]


class NameNode:
    """Files in memory behind a loopback port."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.folders = {"/"}
        there = self

        class Answers(_Answers):
            node = there

        self._httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.port = self._httpd.server_port

    def __enter__(self) -> NameNode:
        threading.Thread(target=self._httpd.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._httpd.shutdown()
        self._httpd.server_close()


class _Answers(http.server.BaseHTTPRequestHandler):
    node: NameNode

    def log_message(self, *args: object) -> None: ...

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _json(self, body: Any, status: int = 200) -> None:
        self._send(status, json.dumps(body).encode())

    def _asked(self) -> tuple[str, str, dict[str, str]]:
        parts = urlsplit(self.path)
        query = {name.lower(): values[0] for name, values in parse_qs(parts.query).items()}
        path = unquote(parts.path).removeprefix("/webhdfs/v1").rstrip("/") or "/"
        return path, query.pop("op").upper(), query

    def _status(self, path: str, suffix: str) -> dict[str, Any]:
        kind = "FILE" if path in self.node.files else "DIRECTORY"
        size = len(self.node.files.get(path, b""))
        return {
            "pathSuffix": suffix,
            "type": kind,
            "length": size,
            "modificationTime": 1_700_000_000_000 + size,
        }

    def _missing(self, path: str) -> None:
        said = {"exception": "FileNotFoundException", "message": f"File {path} does not exist."}
        self._json({"RemoteException": said}, 404)

    def do_GET(self) -> None:
        path, op, query = self._asked()
        node = self.node
        if path not in node.files and path not in node.folders:
            return self._missing(path)
        if op == "GETFILESTATUS":
            return self._json({"FileStatus": self._status(path, "")})
        if op == "LISTSTATUS":
            if path in node.files:
                return self._json({"FileStatuses": {"FileStatus": [self._status(path, "")]}})
            below = path.rstrip("/") + "/"
            names = {
                known.removeprefix(below)
                for known in (*node.files, *node.folders)
                if known.startswith(below) and "/" not in known.removeprefix(below)
            }
            found = [self._status(below + name, name) for name in sorted(names - {""})]
            return self._json({"FileStatuses": {"FileStatus": found}})
        if op == "OPEN":
            if "datanode" not in query:
                return self._send(
                    307, Location=f"http://127.0.0.1:{node.port}{self.path}&datanode=1"
                )
            start = int(query.get("offset", 0))
            length = int(query.get("length", len(node.files[path])))
            return self._send(200, node.files[path][start : start + length])
        return self._send(400)

    def do_PUT(self) -> None:
        path, op, query = self._asked()
        node = self.node
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if op == "MKDIRS":
            parts = path.strip("/").split("/")
            node.folders |= {"/" + "/".join(parts[: i + 1]) for i in range(len(parts))}
            return self._json({"boolean": True})
        if op == "RENAME":
            node.files[query["destination"]] = node.files.pop(path)
            return self._json({"boolean": True})
        if op == "CREATE":
            if "datanode" not in query:
                return self._send(
                    307, Location=f"http://127.0.0.1:{node.port}{self.path}&datanode=1"
                )
            node.files[path] = body
            return self._send(201)
        return self._send(400)

    def do_POST(self) -> None:
        path, op, query = self._asked()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if op == "APPEND" and "datanode" not in query:
            where = f"http://127.0.0.1:{self.node.port}{self.path}&datanode=1"
            return self._send(307, Location=where)
        if op == "APPEND":
            self.node.files[path] += body
            return self._send(200)
        return self._send(400)

    def do_DELETE(self) -> None:
        path, _, _ = self._asked()
        return self._json({"boolean": self.node.files.pop(path, None) is not None})
