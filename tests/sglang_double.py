"""A double of SGLang: an environment whose ``sglang.launch_server`` is a small server of ours.

It takes the arguments that OptiKIT gives, spelled as SGLang 0.5.23 has them, refuses others as its
parser does, logs its arguments with the key as it does, and answers /v1/completions. It proves how
OptiKIT starts, awaits and ends such a server; it proves nothing about SGLang itself.
"""

from __future__ import annotations

import venv
from pathlib import Path

VERSION = "0.5.23"

SERVER = """
import argparse, datetime, json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def say(text):
    print(f"[{datetime.datetime.now():%Y-%m-%d %H:%M:%S}] {text}", flush=True)


parser = argparse.ArgumentParser(prog="sglang serve")
for name in ("model-path", "served-model-name", "host", "dtype", "kv-cache-dtype", "api-key",
             "schedule-policy"):
    parser.add_argument(f"--{name}")
for name in ("port", "tp-size", "dp-size", "max-running-requests", "chunked-prefill-size",
             "max-prefill-tokens", "context-length", "page-size"):
    parser.add_argument(f"--{name}", type=int)
parser.add_argument("--mem-fraction-static", type=float)
parser.add_argument("--attention-backend", choices=["fa3", "flashinfer", "triton"])
for name in ("disable-cuda-graph", "disable-radix-cache", "trust-remote-code",
             "enable-priority-scheduling", "schedule-low-priority-values-first"):
    parser.add_argument(f"--{name}", action="store_true")

words = sys.argv[1:]
if "--config" in words:
    at = words.index("--config")
    key, _, value = open(words[at + 1]).read().strip().partition(": ")
    words[at : at + 2] = [f"--{key}", json.loads(value)]
args = parser.parse_args(words)
time.sleep(0.7)
say(f"server_args={vars(args)}")


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, code, body, kind="application/json"):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != f"Bearer {args.api_key}":
            return self.send(401, b'{"error": "Unauthorized"}')
        size = asked["max_tokens"]
        usage = {"prompt_tokens": len(asked["prompt"]), "completion_tokens": size}
        if not asked.get("stream"):
            return self.send(200, json.dumps({"choices": [], "usage": usage}).encode())
        events = [{"choices": [{"text": "x"}]}] * size + [{"choices": [], "usage": usage}]
        lines = [*map(json.dumps, events), "[DONE]"]
        body = "".join(f"data: {line}\\n\\n" for line in lines)
        self.send(200, body.encode(), "text/event-stream")


if os.fork() == 0:  # a scheduler, so that there is a tree to end
    time.sleep(600)
    os._exit(0)
server = ThreadingHTTPServer((args.host, args.port), Answers)
say("The server is fired up and ready to roll!")
server.serve_forever()
"""


def environment(folder: Path) -> Path:
    """Make the environment; its interpreter."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    (site,) = folder.glob("lib/python3*/site-packages")
    package, facts = site / "sglang", site / f"sglang-{VERSION}.dist-info"
    for made in (package, facts):
        made.mkdir()
    (package / "__init__.py").touch()
    (package / "launch_server.py").write_text(SERVER)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: sglang\nVersion: {VERSION}\n")
    return folder / "bin" / "python"
