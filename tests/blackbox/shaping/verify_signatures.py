"""Verifies requests with the official libraries of Svix and of Standard Webhooks. Reads
{"secret", "headers", "body"} from stdin, the body in base64; ends with 0 if both take it and neither
takes it with another body, or another secret."""

import base64
import json
import sys

import standardwebhooks
import svix.webhooks

given = json.load(sys.stdin)
headers, body = given["headers"], base64.b64decode(given["body"])
other = "whsec_" + base64.b64encode(b"another secret of 24 byt").decode()


def refused(verify, *args):
    try:
        verify(*args)
    except (svix.webhooks.WebhookVerificationError, standardwebhooks.webhooks.WebhookVerificationError):
        return True
    return False


for library in (svix.webhooks.Webhook, standardwebhooks.Webhook):
    good = library(given["secret"])
    good.verify(body, headers)
    assert refused(good.verify, body + b" ", headers), library
    assert refused(library(other).verify, body, headers), library
    names = ("webhook-signature", "svix-signature")
    without = {name: value for name, value in headers.items() if name not in names}
    assert refused(good.verify, body, without), library
