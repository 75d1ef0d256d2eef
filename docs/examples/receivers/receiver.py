# PORT=8000 WEBHOOK_SECRET=whsec_… DONE_FILE=done.txt python3 receiver.py
import base64
import hmac
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE = 300  # seconds
LARGEST_BODY = 2 << 20

secret = os.environ["WEBHOOK_SECRET"]
lock = threading.Lock()
done_file = open(os.environ["DONE_FILE"], "a+b", buffering=0)
done_file.seek(0)
done = set(done_file.read().decode().split())


def is_genuine(headers, body):
    """Whether one of the signatures is ours, and of the last five minutes."""
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit()) or len(timestamp) > 12:
        return False
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
    # Several while a secret is rotated; all are compared, each in constant time.
    candidates = headers.get("webhook-signature", "").encode().split()
    return any([hmac.compare_digest(candidate, expected) for candidate in candidates])


def do_once(message_id, body):
    # With a database: insert the id into a table with a unique key, in the transaction that does
    # the work. Here a file has the ids.
    with lock:
        if message_id in done:
            return
        # YOUR WORK with `body`, in the same transaction.
        done_file.write(message_id.encode() + b"\n")
        os.fsync(done_file.fileno())
        done.add(message_id)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if length > LARGEST_BODY:
            return self.answer(413)
        body = self.rfile.read(length)  # the bytes as they came; parse them afterwards
        if not is_genuine(self.headers, body):
            return self.answer(401)
        do_once(self.headers["webhook-id"], body)
        self.answer(204)  # only now: outboxd sends it again until it gets a 2xx

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
