"""What a package has to do, told to the real dpkg and the real daemon in a scratch root.

The scenario plays systemd: it opens the sockets of outboxd.socket once, starts ExecStart= of
outboxd.service with the environment of the unit and a user of its own, and follows what the
maintainer scripts ask of systemctl. run.sh makes the root and the packages.
"""

import fcntl
import glob
import gzip
import os
import signal
import socket
import struct
import subprocess
import sys
import threading

from traffic import PATIENCE_S, Load, Receiver, Unmet, check, request

UNITS = "/usr/lib/systemd/system"
CONFIG = "/etc/outboxd/outboxd.toml"
# Of the range that DynamicUser= takes its users from.
USER = 61184


def fail(why):
    sys.exit(f"package: FAILED, {why}")


def run(*command, expect=0):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode != expect:
        fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def unit(name, key):
    with open(f"{UNITS}/{name}") as lines:
        return [line.split("=", 1)[1].strip() for line in lines if line.startswith(f"{key}=")]


def raise_loopback():
    up_and_running = 0x1 | 0x40
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", up_and_running))


class Manager:
    """As much of systemd as a package meets."""

    def __init__(self):
        self.lock = threading.Lock()
        self.asked = []
        self.sockets = []
        self.daemon = None
        self.starts = 0
        self.doors = socket.socket(socket.AF_UNIX)
        self.doors.bind("/run/package/manager.sock")
        self.doors.listen()
        threading.Thread(target=self.answer, daemon=True).start()

    def answer(self):
        while True:
            caller, _ = self.doors.accept()
            with caller, caller.makefile("rw") as lines:
                words = lines.readline().split()
                self.asked.append(" ".join(words))
                lines.write(f"{self.obey(*words)}\n")

    def obey(self, verb, *units):
        if verb in ("daemon-reload", "disable"):
            return 0
        if verb == "try-restart" and units == ("outboxd.service",):
            if self.daemon:
                self.stop()
                self.start()
            return 0
        if verb == "stop":
            self.stop()
            if "outboxd.socket" in units:
                self.close()
            return 0
        return 1

    def open(self):
        for address in unit("outboxd.socket", "ListenStream"):
            if address.startswith("/"):
                opened = socket.socket(socket.AF_UNIX)
                opened.bind(address)
                os.chown(address, USER, USER)
            else:
                host, port = address.rsplit(":", 1)
                opened = socket.socket()
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                opened.bind((host, int(port)))
            opened.listen(int(unit("outboxd.socket", "Backlog")[0]))
            # Out of the way of the descriptors that the daemon expects.
            self.sockets.append(fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 100))
            opened.close()

    def close(self):
        for opened in self.sockets:
            os.close(opened)
        self.sockets = []

    def start(self):
        for made in ("/var/lib/private/outboxd", "/run/outboxd"):
            os.makedirs(made, 0o700, exist_ok=True)
            os.chown(made, USER, USER)
        # systemd shows the user its directory in a mount of its own.
        os.chmod("/var/lib/private", 0o711)
        if not os.path.islink("/var/lib/outboxd"):
            os.symlink("private/outboxd", "/var/lib/outboxd")
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind("\0outboxd-package")
        notify.settimeout(PATIENCE_S)
        watchdog_us = int(unit("outboxd.service", "WatchdogSec")[0]) * 1_000_000
        environment = {
            "PATH": "/usr/bin:/bin",
            "STATE_DIRECTORY": "/var/lib/outboxd",
            "RUNTIME_DIRECTORY": "/run/outboxd",
            "NOTIFY_SOCKET": "@outboxd-package",
            "WATCHDOG_USEC": str(watchdog_us),
            "LISTEN_FDS": str(len(self.sockets)),
            "LISTEN_FDNAMES": ":".join("outboxd.socket" for _ in self.sockets),
        }
        passed = list(self.sockets)

        def place():
            for at, opened in enumerate(passed):
                os.dup2(opened, 3 + at)

        self.daemon = subprocess.Popen(
            ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *unit("outboxd.service", "ExecStart")[0].split()],
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=open("/run/package/log", "ab"),
            preexec_fn=place,
            close_fds=False,
            user=USER,
            group=USER,
            extra_groups=[],
            umask=0o077,
        )
        self.starts += 1
        with notify:
            while b"READY=1" not in notify.recv(4096).split(b"\n"):
                pass

    def stop(self):
        if self.daemon:
            self.daemon.send_signal(signal.SIGTERM)
            status = self.daemon.wait(timeout=30)
            check(status == 0, f"the daemon ended with {status}")
            self.daemon = None


def main():
    raise_loopback()
    receiver, manager = Receiver(), Manager()
    (old,) = (path for path in glob.glob("/run/package/*.deb") if "+next" not in path)
    (new,) = glob.glob("/run/package/*+next*.deb")

    said = run("dpkg", "-i", old)
    check("systemctl enable --now" in said, f"the first installation does not say how to start: {said}")
    check(manager.asked == ["daemon-reload"], f"the installation asked for {manager.asked}")
    check(run("dpkg", "--verify", "outboxd") == "", "dpkg --verify finds differences")
    run("outboxd", "check", "--config", CONFIG)
    with gzip.open("/usr/share/man/man1/outboxd-serve.1.gz", "rt") as page:
        check("outboxd" in page.read(), "the manual page is empty")
    for completions in ("bash-completion/completions/outboxd", "zsh/vendor-completions/_outboxd"):
        check(os.path.getsize(f"/usr/share/{completions}") > 1000, f"{completions} is empty")
    check(os.stat("/etc/outboxd/secrets").st_mode & 0o77 == 0, "others may read /etc/outboxd/secrets")

    with open(CONFIG, "w") as config:
        config.write(f"""
[delivery]
allow_networks = ["127.0.0.0/8"]
[[endpoint]]
id = "receiver"
url = "http://127.0.0.1:{receiver.port}/"
""")
    manager.open()
    manager.start()
    run("outboxd", "health")
    status, first = request("POST", "/v1/events", {"type": "first.made", "data": 1})
    check(status == 202, f"the first event was answered {status} {first}")
    receiver.wait_for({first["id"]})
    print("package: installed, started, delivered")

    load = Load()
    load.wait_for(200)
    manager.asked.clear()
    before = len(load.accepted)
    said = run("dpkg", "-i", new)
    during = len(load.accepted) - before
    check(manager.asked == ["daemon-reload", "try-restart outboxd.service"], f"the upgrade asked for {manager.asked}: {said}")
    check(manager.starts == 2, f"the daemon was started {manager.starts} times")
    load.wait_for(200)
    load.end()
    check(not load.faults, f"{len(load.faults)} requests failed in the upgrade: {load.faults[:3]}")
    receiver.wait_for(load.accepted)
    check(f"127.0.0.1:{receiver.port}" in open(CONFIG).read(), "the upgrade changed the configuration")
    repeated = sum(times - 1 for times in receiver.seen.values())
    print(
        f"package: upgraded under load: {len(load.accepted)} accepted ({during} of them during the upgrade), "
        f"all delivered, {repeated} of them more than once; no request failed or was refused"
    )

    manager.asked.clear()
    run("dpkg", "--remove", "outboxd")
    check(manager.daemon is None, "the daemon runs after the removal")
    check("disable outboxd.socket outboxd.service" in manager.asked, f"the removal asked for {manager.asked}")
    check(not os.path.exists("/usr/bin/outboxd") and not os.path.exists("/run/outboxd.sock"), "the removal left files")
    check(os.path.exists(CONFIG) and os.listdir("/var/lib/outboxd/"), "the removal took configuration or data")
    run("dpkg", "-i", new)
    manager.open()
    manager.start()
    status, event = request("GET", f"/v1/events/{first['id']}")
    check(status == 200 and event["id"] == first["id"], f"after installing again an event is {status}")
    print("package: removed and installed again, with its data")

    run("dpkg", "--purge", "outboxd")
    for path in ("/var/lib/outboxd", "/var/lib/private/outboxd", "/etc/outboxd", "/run/outboxd"):
        check(not os.path.lexists(path), f"the purge left {path}")


try:
    main()
except Unmet as why:
    fail(why)
