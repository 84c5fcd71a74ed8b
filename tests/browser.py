"""A real browser without a window, where Debian's chromium or another of its kind is installed."""

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import urllib.request

from tornado.websocket import websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60  # seconds


def find_browser():
    """Return the path of a browser; None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def _running(folder):
    command = [
        find_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
        "--window-size=1300,900", f"--user-data-dir={folder}", "about:blank",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            for line in process.stderr:
                if "DevTools listening on ws://" in line:
                    yield line.split("ws://")[1].partition("/")[0]
                    break
        finally:
            process.kill()


def look_at(link, until, folder):
    """Open a page, and wait until it shows what is waited for.

    Parameters
    ----------
    link : str
    until : str
        JavaScript that is true as soon as the page shows it.
    folder : path
        For the browser's own files.

    Returns
    -------
    text : str
        The text of the page, also of what is in shadow trees.
    picture : bytes
        The page as PNG.
    """
    with _running(folder) as address:
        (tab,) = (
            each for each in json.load(urllib.request.urlopen(f"http://{address}/json")) if each["type"] == "page"
        )
        return asyncio.run(asyncio.wait_for(_look(tab["webSocketDebuggerUrl"], link, until), PATIENCE))


TEXT = """
(function text(node) {
    return [...node.childNodes].filter(each => !["STYLE", "SCRIPT"].includes(each.nodeName)).map(
        each => each.nodeType == 3 ? each.data : (each.shadowRoot ? text(each.shadowRoot) : "") + text(each)
    ).join(" ");
})(document.body)
"""


async def _look(tab, link, until):
    connection = await websocket_connect(tab, max_message_size=2**28)
    numbers = iter(range(1, 10**6))

    async def ask(method, **parameters):
        number = next(numbers)
        await connection.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(await connection.read_message())
            if answer.get("id") == number:
                return answer["result"]

    async def evaluate(code):
        return (await ask("Runtime.evaluate", expression=code))["result"].get("value")

    await ask("Page.navigate", url=link)
    while not await evaluate(until.replace("TEXT", TEXT.strip())):
        await asyncio.sleep(0.1)
    text = await evaluate(TEXT)
    picture = await ask("Page.captureScreenshot")
    return text, base64.b64decode(picture["data"])
