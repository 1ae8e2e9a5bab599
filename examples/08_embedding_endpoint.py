"""Use a model behind an OpenAI-compatible address as your encoder. Whoever runs it sees your texts in clear."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trial

import securealign
from securealign.models import open_encoder

GLOVE = open_encoder("glove")
CONFIG = """
[provider]
address = "{address}"
certificates = "certs/client"
head = "topics"
[encoder]
endpoint = "http://127.0.0.1:{port}/v1"     # https:// for any other machine
model = "glove"
# api_key_env = "EMBEDDING_API_KEY"         # the variable that holds the key
[public]
texts = "public.jsonl"
[alignment]
folder = "endpoint-alignment"
"""


class Endpoint(BaseHTTPRequestHandler):
    """Plays the vendor."""

    def do_POST(self) -> None:
        """Answer with the embedding of each text."""
        texts = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
        data = [{"index": number, "embedding": row.tolist()} for number, row in enumerate(GLOVE.encode(texts))]
        answer = json.dumps({"object": "list", "model": "glove", "data": data}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


with trial.start() as here, ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as vendor:
    threading.Thread(target=vendor.serve_forever, daemon=True).start()
    config = here.folder / "endpoint.toml"
    config.write_text(CONFIG.format(address=here.address, port=vendor.server_port), encoding="utf-8")
    with securealign.connect(config) as client:
        print(f"aligned on {client.align().rows} public texts, embedded at 127.0.0.1")
        for answer in client.classify(here.news(3)[0]):
            print(f"text {answer.index}: {answer.label}")
    vendor.shutdown()
