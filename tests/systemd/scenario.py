"""What outboxd has to show under systemd. run.sh boots systemd, which starts this as a service."""

import json
import os
import signal
import subprocess
import sys
import time

from traffic import PATIENCE_S, Load, Receiver, Unmet, check, request

CONFIG = "/etc/outboxd/outboxd.toml"
DROP_IN = "/etc/systemd/system/outboxd.service.d/trial.conf"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def say(line):
    print(f"systemd: {line}", flush=True)


def fail(why):
    log = run("journalctl", "--no-pager", "-n", "40", "-u", "outboxd.service", expect=None)
    sys.exit(f"{log}\nsystemd: FAILED, {why}")


def run(*command, expect=0):
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    if expect is not None and done.returncode != expect:
        fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return (done.stdout + done.stderr).strip()


def shown(key, unit="outboxd.service"):
    return run("systemctl", "show", "--value", "-p", key, unit)


def wait_for(holds, why):
    until = time.monotonic() + PATIENCE_S
    while not holds():
        check(time.monotonic() < until, why())
        time.sleep(0.05)


def write_config(receiver, more=""):
    with open(CONFIG, "w") as config:
        config.write(f"""{more}
[delivery]
allow_networks = ["127.0.0.0/8"]
[[endpoint]]
id = "receiver"
url = "http://127.0.0.1:{receiver.port}/"
secret_file = "receiver-secret"
""")
    os.chmod(CONFIG, 0o644)


def started(receiver):
    os.makedirs("/etc/outboxd/secrets", 0o700)
    with open("/etc/outboxd/secrets/receiver", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as secret:
        secret.write(SECRET)
    os.makedirs(os.path.dirname(DROP_IN))
    with open(DROP_IN, "w") as drop_in:
        drop_in.write("[Service]\nLoadCredential=receiver-secret:/etc/outboxd/secrets/receiver\n")
        # Short, so that a hang is noticed soon. A stopped process takes no SIGABRT.
        drop_in.write("WatchdogSec=3\nTimeoutAbortSec=1\n")
    write_config(receiver)
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "--now", "outboxd.socket", "outboxd.service")
    check(shown("ActiveState") == "active", f"it is {shown('ActiveState')}")
    status, event = request("POST", "/v1/events", {"type": "first.made", "data": 1})
    check(status == 202, f"the first event was answered {status} {event}")
    receiver.wait_for({event["id"]})
    check(receiver.signed == 1, "the delivery is not signed with the credential")
    wait_for(lambda: "pending" in shown("StatusText"), lambda: f"its status is {shown('StatusText')!r}")
    owner = os.stat("/var/lib/private/outboxd").st_uid
    check(61184 <= owner <= 65519, f"its data belongs to user {owner}")
    say("started, READY came, delivered with a secret from a credential, as a dynamic user")


def journal(*more):
    run("journalctl", "--sync")
    return run("journalctl", "--no-pager", "-u", "outboxd.service", *more)


def reloaded(receiver):
    pid = shown("MainPID")
    large = {"type": "large", "data": "x" * 2000}
    answered = lambda: request("POST", "/v1/events", large)[0]
    write_config(receiver, "[ingest]\nmax_event_size = \"1KiB\"\n")
    run("systemctl", "reload", "outboxd.service")
    wait_for(lambda: answered() == 413, lambda: "the reload did not bound events")
    write_config(receiver, "[ingest]\nmax_event_sise = \"1KiB\"\n")
    run("systemctl", "reload", "outboxd.service")
    wait_for(lambda: "was not reloaded" in journal(), lambda: "nothing tells of the faulty file")
    check(answered() == 413, "a faulty file changed the bound of events")
    check(shown("MainPID") == pid and shown("ActiveState") == "active", "it did not go on after a faulty reload")
    write_config(receiver)
    run("systemctl", "reload", "outboxd.service")
    say("reloaded, and a faulty file changed nothing")


def restarted(receiver):
    load = Load()
    load.wait_for(100)
    for _ in range(3):
        run("systemctl", "restart", "outboxd.service")
        load.wait_for(100)
    load.end()
    check(not load.faults, f"{len(load.faults)} requests failed in restarts: {load.faults[:3]}")
    receiver.wait_for(load.accepted)
    say(f"restarted three times under load: {len(load.accepted)} accepted, no request failed, all delivered")


def watched():
    pid, restarts = shown("MainPID"), int(shown("NRestarts"))
    os.kill(int(pid), signal.SIGSTOP)
    again = lambda: shown("MainPID") not in (pid, "0") and shown("ActiveState") == "active"
    wait_for(again, lambda: f"a daemon that hangs is {shown('ActiveState')}, not started again")
    check(int(shown("NRestarts")) == restarts + 1, f"it was restarted {shown('NRestarts')} times")
    pid = shown("MainPID")
    # Longer than the limit of the watchdog: it is fed.
    time.sleep(5)
    check(shown("MainPID") == pid, "the watchdog ended a daemon that works")
    status, _ = request("GET", "/v1/status")
    check(status == 200, f"after that its status is answered {status}")
    say("the watchdog ended a daemon that hangs, and no other")


def logged():
    entries = journal("-o", "json", "SYSLOG_IDENTIFIER=outboxd")
    fields = [json.loads(line) for line in entries.splitlines() if line.startswith("{")]
    ready = [entry for entry in fields if "OUTBOXD_RECOVERY" in entry and "OUTBOXD_VERSION" in entry]
    check(ready, f"no line of the journal has its fields: {entries[:500]}")
    check(SECRET not in entries, "the journal has a secret")
    say(f"the journal has {len(fields)} lines, with their fields")


def stopped(receiver):
    run("systemctl", "stop", "outboxd.service", "outboxd.socket")
    result = (shown("Result"), shown("ExecMainStatus"))
    check(result == ("success", "0"), f"it stopped with {result}")
    check(os.listdir("/var/lib/private/outboxd"), "its data is gone")
    write_config(receiver, "no_such_key = 1\n")
    run("systemctl", "start", "outboxd.service", expect=1)
    time.sleep(3)
    check(shown("ActiveState") == "failed", f"with a faulty file it is {shown('ActiveState')}")
    check(shown("NRestarts") == "0", "with a faulty file it was started again and again")
    say("stopped, and not started again and again with a faulty file")


def main():
    receiver = Receiver()
    started(receiver)
    reloaded(receiver)
    restarted(receiver)
    watched()
    logged()
    stopped(receiver)
    say("all held")


try:
    main()
except Unmet as why:
    fail(why)
