"""Signs one request to Holdfast as docs/signature.md says, with nothing but
Python's standard library: what a stranger writes who has only the page.

  sign.py CREDENTIALS HOST:PORT SERVICE/METHOD < BODY    prints the header
  sign.py --message [NUMBER=TEXT]... > BODY              a gRPC message of text and bytes
"""
import base64
import hashlib
import hmac
import json
import os
import struct
import sys
import time
import uuid


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def header(credentials, host, method, body):
    with open(credentials) as f:
        c = json.load(f)
    name = c.get("credential") or c["appid"]
    millis, nonce = str(time.time_ns() // 1_000_000), os.urandom(16)
    parts = [b"holdfast request signature v2", b"POST", host.lower().encode(), b"/holdfast.v1." + method.encode(),
             hashlib.sha256(body).digest(), uuid.UUID(name).bytes, millis.encode(), nonce, b"none", b""]
    text = b"".join(struct.pack(">Q", len(p)) + p for p in parts)
    key = hmac.digest(c["apikey"].encode(), b"holdfast request signature v2 key", "sha256")
    mac = hmac.digest(key, text, "sha256")
    return f"Holdfast-Signature: v=2, credential={name}, time={millis}, nonce={b64(nonce)}, binding=none, mac={b64(mac)}"


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def message(fields):
    """One gRPC message: five bytes in front, then protobuf, in order of the numbers."""
    out = b""
    for field in fields:
        number, _, text = field.partition("=")
        value = base64.b64decode(text[7:]) if text.startswith("base64:") else text.encode()
        out += varint(int(number) << 3 | 2) + varint(len(value)) + value
    return struct.pack(">BI", 0, len(out)) + out


if sys.argv[1] == "--message":
    sys.stdout.buffer.write(message(sys.argv[2:]))
else:
    print(header(*sys.argv[1:4], sys.stdin.buffer.read()))
