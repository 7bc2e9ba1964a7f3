"""An S3 server in this process, whose answers can be made to fail, to be late, or to be slow."""

import threading
import time

import fsspec
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

READ_TIMEOUT_S = 2.0


class S3Server:
    """`plan` is asked about every request: None to answer, "500" to fail, "lost" to answer 500 after the work, or seconds to wait."""

    def __init__(self):
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.plan = lambda method, path: None
        self.requests = []
        self.created_if_absent = []
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __call__(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        if environ.get("HTTP_IF_NONE_MATCH") == "*":
            self.created_if_absent.append(path)
        action = self.plan(method, path)
        if isinstance(action, float):
            time.sleep(action)
        if action == "500":
            return self._error(start_response)
        if action == "lost":
            list(self._app(environ, lambda *arguments: None))
            return self._error(start_response)
        return self._app(environ, start_response)

    def _error(self, start_response):
        body = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
        headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body))), ("Connection", "close")]
        start_response("500 Internal Server Error", headers)
        return [body]

    def close(self):
        self._server.shutdown()


class Quiet(WSGIRequestHandler):
    def log(self, *arguments):
        pass


def options(server):
    """What fsspec needs to reach the server, with no attempts of its own beside ours."""
    return {
        "endpoint_url": server.url,
        "key": "test",
        "secret": "test",
        "config_kwargs": {"retries": {"total_max_attempts": 1}, "read_timeout": READ_TIMEOUT_S, "connect_timeout": READ_TIMEOUT_S},
    }


def make_bucket(name):
    fsspec.filesystem("s3").mkdir(name)
