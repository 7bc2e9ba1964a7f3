"""A headless Chromium that opens a page and answers questions about it, over its DevTools protocol."""

import asyncio
import base64
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from rcnn_dist.errors import ConfigError

T = TypeVar("T")
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_START_S = 60.0
_HIGHEST = 16_000  # pixels


def find_browser() -> str:
    """The path of a Chromium.

    Raises:
        ConfigError: there is none.
    """
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise ConfigError(f"no browser found: install one of {', '.join(_NAMES)}")
    return found


class Page:
    """One open page; `problems` are its console's errors and what it tried to fetch."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._events: list[dict[str, Any]] = []
        self.problems: list[str] = []

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol and its result."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json(timeout=_START_S)
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return dict(message["result"])
            self._note(message)

    async def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        found = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    async def open(self, path: Path) -> None:
        """Opens a file and waits until it is loaded."""
        await self.call("Page.navigate", url=path.absolute().as_uri())
        while await self.evaluate("document.readyState") != "complete":
            await asyncio.sleep(0.01)

    async def screenshot(self, width: int, dark: bool) -> bytes:
        """A PNG of the whole page, its first 16,000 pixels at most, with all its pictures."""
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=1000, deviceScaleFactor=1, mobile=False)
        await self.evaluate(
            "dispatchEvent(new Event('beforeprint')), Promise.all([...document.images].map(i => i.decode().catch(() => 0)))"
        )
        height = min(_HIGHEST, await self.evaluate("document.documentElement.scrollHeight"))
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        await self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(
                str(params["exceptionDetails"].get("exception", {}).get("description", params["exceptionDetails"]["text"]))
            )
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.problems.append(str(params["args"]))
        elif method == "Network.requestWillBeSent" and not params["request"]["url"].startswith(("file:", "data:")):
            self.problems.append(f"fetches {params['request']['url']}")


def take_screenshot(path: Path, width: int = 1400, dark: bool = False) -> bytes:
    """A PNG of a page on disk.

    Raises:
        ConfigError: there is no browser.
    """

    async def visit(page: Page) -> bytes:
        await page.open(path)
        return await page.screenshot(width, dark)

    return browse(visit)


def browse(visit: Callable[[Page], Awaitable[T]], size: tuple[int, int] = (1400, 1000)) -> T:
    """Runs `visit` with an empty page of a browser of its own.

    Raises:
        ConfigError: there is no browser.
    """

    async def run() -> T:
        async with _page(size) as page:
            return await visit(page)

    return asyncio.run(run())


@asynccontextmanager
async def _page(size: tuple[int, int]) -> AsyncIterator[Page]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"]
        command = [find_browser(), *options, f"--window-size={size[0]},{size[1]}", f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603  no text of a user's
        try:
            port = await _port(Path(profile) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    target = next(one for one in await answer.json(content_type=None) if one["type"] == "page")
                async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    page = Page(socket)
                    for domain in ("Page", "Runtime", "Log", "Network"):
                        await page.call(f"{domain}.enable")
                    yield page
        finally:
            process.terminate()
            process.wait()


async def _port(file: Path) -> int:
    """The port that the browser writes down when it listens."""
    for _ in range(int(_START_S / 0.05)):
        if file.exists() and (lines := file.read_text().split()):
            return int(lines[0])
        await asyncio.sleep(0.05)
    raise ConfigError(f"the browser did not start within {_START_S:.0f} seconds")
