"""outboxd as a child process, its client, and a receiver: what both scripts here drive.

Standard library only. Nothing listens on a fixed port: the API is on a Unix socket in a
directory of the caller's, the receiver on port 0.
"""

import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import threading
import time

START_DEADLINE = 60.0
STOP_DEADLINE = 30.0


class Broken(Exception):
    """What was promised does not hold. Its text is the reason that crashcheck groups by."""


class Gone(Exception):
    """The daemon went away in the middle of a request: nobody knows whether it was done."""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Client:
    """One keep-alive connection. Not shared between threads."""

    def __init__(self, path):
        self.path = path
        self.connection = None

    def call(self, method, target, body=None, headers=None):
        """Status and body."""
        try:
            if self.connection is None:
                self.connection = UnixConnection(self.path, START_DEADLINE)
            self.connection.request(method, target, body, headers or {})
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.connection = None
            raise Gone(f"{method} {target.split('?')[0]}: {error!r}") from error

    def get(self, target):
        """The JSON of an answer that has to be 200."""
        status, body = self.call("GET", target)
        if status != 200:
            raise Broken(f"GET {target.split('?')[0]} gives {status}")
        return json.loads(body)

    def every(self, target):
        """All rows of a list."""
        rows, cursor = [], ""
        while cursor is not None:
            page = self.get(f"{target}{'&' if '?' in target else '?'}limit=1000{cursor}")
            rows += page["data"]
            cursor = page["next"] and f"&cursor={page['next']}"
        return rows


class Daemon:
    """outboxd with one configuration file; started and ended any number of times."""

    def __init__(self, binary, work, data_dir, config, boot):
        self.binary, self.socket = binary, os.path.join(work, "api.sock")
        self.config, self.log = os.path.join(work, "outboxd.toml"), os.path.join(work, "stderr")
        boot_file = os.path.join(work, "boot_id")
        with open(boot_file, "w") as f:
            f.write(boot + "\n")
        with open(self.config, "w") as f:
            f.write(f'data_dir = "{data_dir}"\n[listen]\nhttp = ""\nunix = "{self.socket}"\n')
            f.write(config)
        known = {k: v for k, v in os.environ.items() if not k.startswith(("OUTBOXD_", "RUST_LOG"))}
        self.env = dict(known, OUTBOXD_BOOT_ID_FILE=boot_file)
        self.process = None

    def launch(self):
        """Starts the process and does not wait for anything."""
        with open(self.log, "ab") as log:
            argv = [self.binary, "serve", "--config", self.config]
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.env)

    def start(self):
        """Starts it and waits until it is ready. Returns a client."""
        self.launch()
        deadline = time.monotonic() + START_DEADLINE
        while True:
            if self.process.poll() is not None:
                raise Broken(f"outboxd does not start: {self.last_words()}")
            if time.monotonic() > deadline:
                raise Broken("outboxd is not ready in time")
            try:
                client = Client(self.socket)
                if client.call("GET", "/readyz")[0] == 200:
                    return client
            except Gone:
                time.sleep(0.005)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM, and a clean end."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired as error:
            raise Broken("outboxd does not stop in time") from error
        if code != 0:
            raise Broken(f"outboxd ends with {code}: {self.last_words()}")

    def end(self):
        """Leaves nothing behind."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def last_words(self):
        with open(self.log, errors="replace") as f:
            lines = [line for line in f.read().splitlines() if line.strip()]
        return lines[-1][-200:] if lines else "(silent)"


class Receiver:
    """Receives webhooks at `/ENDPOINT`. `verdict(endpoint, event)` gives the status."""

    def __init__(self, verdict=lambda endpoint, event: 204):
        self.taken = set()
        self.changed = threading.Condition()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                left = int(self.headers.get("content-length", 0))
                while left > 0:
                    left -= len(self.rfile.read(min(left, 1 << 20))) or left
                endpoint, event = self.path.strip("/"), self.headers.get("webhook-id")
                status = verdict(endpoint, event)
                if 200 <= status < 300:
                    # Noted before it is answered: a delivery may only be `delivered` if it is here.
                    with receiver.changed:
                        receiver.taken.add((event, endpoint))
                        receiver.changed.notify_all()
                self.wfile.write(b"HTTP/1.1 %d x\r\ncontent-length: 0\r\n\r\n" % status)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_):
                """A daemon that was killed hung up."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


# The endpoints of the workload: types, and the retry rule while recording.
ENDPOINTS = {
    "ok": (["order.*"], 'first = "100ms"'),
    "flaky": (["order.*", "bill.*"], 'first = "100ms"\nfactor = 2.0\nmax = "500ms"'),
    "slow": (["slow.*"], 'first = "100ms"'),
    # Dead at the third failure.
    "broken": (["bill.*"], 'schedule = ["40ms", "40ms"]'),
    # Nobody listens there.
    "down": (["bill.*", "order.late"], 'first = "20s"'),
    # Disabled and enabled while recording.
    "off": (["note.*"], 'first = "100ms"'),
}


def endpoints_of(event_type):
    """The ids of the endpoints that want an event of this type."""
    head = event_type.split(".")[0] + ".*"
    return sorted(i for i, (types, _) in ENDPOINTS.items() if head in types or event_type in types)


def endpoint_tables(urls, rules=True):
    """The configuration's `[[endpoint]]` tables. `urls` gives each id its URL."""
    text = ""
    for name, (types, rule) in ENDPOINTS.items():
        text += f'\n[[endpoint]]\nid = "{name}"\nurl = "{urls(name)}"\ntypes = {json.dumps(types)}\n'
        text += 'allow_networks = ["127.0.0.0/8"]\n'
        if rules:
            text += f"[endpoint.retry]\n{rule}\n"
    return text
