"""A web service that keeps the audit lines that nodes post, for run.sh:

    auditservice.py PORT FILE
"""
import http.server, sys, threading

kept, lock = open(sys.argv[2], "ab"), threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        lines = self.rfile.read(int(self.headers["Content-Length"]))
        with lock:
            kept.write(lines)
            kept.flush()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
