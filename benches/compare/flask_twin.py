"""A Flask twin of the seeds, for `benches/compare/run`: everything in memory, a request to each secondary in parallel
threads, and a 201 when all of them have ended.

    flask_twin.py secondary PORT
    flask_twin.py master PORT HOST:PORT...
"""

import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from threading import Lock, local

import requests
from flask import Flask, jsonify, request
from werkzeug.serving import WSGIRequestHandler

# Enough for 256 clients with two secondaries each, so that no write waits for a thread of the pool.
REPLICATION_THREADS = 512

role, port, secondaries = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
app = Flask(__name__)
messages = []
lock = Lock()
pool = ThreadPoolExecutor(REPLICATION_THREADS)
kept = local()


def replicate(secondary, entry):
    """One call to one secondary, over a connection that the thread keeps."""
    if not hasattr(kept, "session"):
        kept.session = requests.Session()
    kept.session.post(f"http://{secondary}/replicate", json=entry, timeout=30).raise_for_status()


@app.post("/messages")
def append():
    text = request.get_json()["message"]
    with lock:
        entry = {"id": len(messages) + 1, "message": text, "timestamp": datetime.now(timezone.utc).isoformat()}
        messages.append(entry)
    calls = [pool.submit(replicate, secondary, entry) for secondary in secondaries]
    for call in calls:
        call.result()
    return jsonify(status="success", message_id=entry["id"], replicated_to=len(calls)), 201


@app.post("/replicate")
def store():
    entry = request.get_json()
    with lock:
        messages.append(entry)
    return jsonify(status="success", message_id=entry["id"])


logging.getLogger("werkzeug").disabled = True
WSGIRequestHandler.protocol_version = "HTTP/1.1"
app.run(host="127.0.0.1", port=port, threaded=True)
