"""Explores the clone and publish endpoints of a live server: sends requests, good and bad, and prints the answers.

Run it in a checkout, for the server of the current directory or any other::

    python -m ci.explore
    python -m ci.explore --url http://localhost:8888/ --token …

It publishes a small notebook, clones it, and takes both away again; the versions of the publication stay in the bucket.
"""

from __future__ import annotations

import argparse
import json
import re
import secrets
import sys
from collections.abc import Mapping
from http.client import responses
from typing import Any
from urllib.parse import quote, urlencode

from bookstore.client.discovery import find_server
from bookstore.errors import BookstoreError
from bookstore.jupyter_servers import JupyterServer, send

#: Longest content that is printed, in characters.
SHOWN = 1500

#: Headers that programs with a token of the server's are told, and nobody else is to read.
SECRET_HEADERS = {"authorization", "cookie", "set-cookie", "x-xsrftoken"}

#: Headers of an answer that say something of it.
TELLING_HEADERS = ("Content-Type", "Content-Disposition", "Location", "ETag", "Retry-After", "Content-Security-Policy")


class Explorer:
    """Sends requests to one server and prints what goes over the wire, without secrets.

    Parameters
    ----------
    server : JupyterServer
    """

    def __init__(self, server: JupyterServer) -> None:
        self.server = server

    def try_out(
        self, what: str, method: str, path: str, body: Mapping[str, Any] | None = None, *, accept: str = "*/*"
    ) -> tuple[int, Any]:
        """Send one request and print it and its answer.

        Parameters
        ----------
        what : str
            What it shows.
        method, path, body, accept
            As for `bookstore.jupyter_servers.send`.

        Returns
        -------
        int
            The status.
        Any
            The answer's JSON; None where it is none.
        """
        self._print(f"\n=== {what}")
        self._print(f"-> {method} {self.server.url}{path}")
        for name, value in self.server.headers().items():
            self._print(f"   {name}: {'***' if name.lower() in SECRET_HEADERS else value}")
        if body is not None:
            self._print(_indented(json.dumps(body)))
        with send(self.server, method, path, body, accept=accept) as answer:
            data = answer.read()
            self._print(f"<- {answer.status} {responses.get(answer.status, '')}")
            for name in TELLING_HEADERS:
                if name in answer.headers:
                    self._print(f"   {name}: {answer.headers[name]}")
            document = _json(data)
            self._print(_indented(_readable(data, document)))
            return answer.status, document

    def _print(self, text: str) -> None:
        print(text.replace(self.server.token, "***") if self.server.token else text)


def explore(explorer: Explorer, *, relpath: str | None = None) -> bool:
    """Try the endpoints out.

    Parameters
    ----------
    explorer : Explorer
    relpath : str, optional
        A file below the server's ``fs_cloning_basedir`` to clone.

    Returns
    -------
    bool
        Whether the server answers, takes a publication and gives it back as a clone.
    """
    status, document = explorer.try_out("What the server offers", "GET", "api/bookstore")
    if status != 200:
        return False
    features = document["features"]
    name = f"explored-{secrets.token_hex(4)}.ipynb"
    is_fine = True
    if features["publish_valid"]:
        is_fine, published = _publish(explorer, name)
        if features["s3_clone_valid"] and is_fine:
            is_fine = _clone(explorer, published)
        explorer.try_out("Take the publication back", "DELETE", f"api/bookstore/published/{name}")
    if features["fs_clone_valid"]:
        _clone_file(explorer, relpath)
    return is_fine


def _publish(explorer: Explorer, name: str) -> tuple[bool, dict[str, Any]]:
    route = "api/bookstore/publish"
    model = {"type": "notebook", "content": _notebook()}
    explorer.try_out("Publish without a path", "PUT", route, model)
    explorer.try_out("Publish an empty model", "PUT", f"{route}/{name}", {})
    explorer.try_out("Publish what is no notebook", "PUT", f"{route}/notes.txt", model)
    invalid = {"type": "notebook", "content": {**_notebook(), "cells": [{"cell_type": "nonsense"}]}}
    explorer.try_out("Publish an invalid notebook", "PUT", f"{route}/{name}", invalid)
    explorer.try_out("Publish a file that is not there, by a body of zero length", "PUT", f"{route}/{name}")
    status, published = explorer.try_out("Publish a notebook", "PUT", f"{route}/{name}", model)
    explorer.try_out("What is published", "GET", "api/bookstore/published?limit=5")
    explorer.try_out("The history of the publication", "GET", f"api/bookstore/published/{name}")
    return status == 200, published


def _clone(explorer: Explorer, published: Mapping[str, Any]) -> bool:
    bucket, _, key = published["s3_path"].removeprefix("s3://").partition("/")
    page = urlencode({"s3_bucket": bucket, "s3_key": key, "s3_version_id": published["versionID"]})
    explorer.try_out("The page to confirm a clone", "GET", f"bookstore/clone?{page}", accept="text/html")
    explorer.try_out("The same page without a key", "GET", f"bookstore/clone?s3_bucket={quote(bucket)}")
    route = "api/bookstore/clone"
    explorer.try_out("Clone without a key", "POST", route, {"s3_bucket": bucket})
    explorer.try_out("Clone what is not there", "POST", route, {"s3_bucket": bucket, "s3_key": f"{key}.nowhere"})
    model = {"s3_bucket": bucket, "s3_key": key}
    is_cloned = _made(explorer, explorer.try_out("Clone", "POST", route, model))
    model["s3_version_id"] = published["versionID"]
    return _made(explorer, explorer.try_out("Clone a version", "POST", route, model)) and is_cloned


def _clone_file(explorer: Explorer, relpath: str | None) -> None:
    route = "api/bookstore/fs-clone"
    explorer.try_out("Clone a file outside of the base directory", "POST", route, {"relpath": "../../etc/passwd"})
    if relpath:
        page = f"bookstore/fs-clone?{urlencode({'relpath': relpath})}"
        explorer.try_out("The page to confirm a clone from the file system", "GET", page, accept="text/html")
        _made(explorer, explorer.try_out("Clone a file", "POST", route, {"relpath": relpath}))


def _made(explorer: Explorer, answer: tuple[int, Any]) -> bool:
    """Whether a file was made; it is removed again."""
    status, document = answer
    if status != 200:
        return False
    explorer.try_out("Remove the clone", "DELETE", f"api/contents/{quote(document['path'])}")
    return True


def _notebook() -> dict[str, Any]:
    cell = {"cell_type": "markdown", "id": "explored", "metadata": {}, "source": "Made by ci/explore.py."}
    return {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _readable(data: bytes, document: Any) -> str:
    if document is not None:
        text = json.dumps(document, indent=1, ensure_ascii=False)
    else:
        # Of a page, what people read of it.
        text = re.sub(r"(?s)<(script|style).*?</\1>|<[^>]*>", " ", data.decode("utf-8", "replace"))
        text = re.sub(r"\s*\n\s*", "\n", text).strip()
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"


def _indented(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.splitlines())


def main() -> int:
    """Run the script; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--url", help="the server's address; that of the current directory, or the only one, if left out"
    )
    parser.add_argument("--token", help="its token, if it is not a server of your own; JUPYTER_TOKEN is read too")
    parser.add_argument("--relpath", help="a file below fs_cloning_basedir to clone")
    args = parser.parse_args()
    try:
        return 0 if explore(Explorer(find_server(args.url, args.token)), relpath=args.relpath) else 1
    except BookstoreError as e:
        print(f"{e}\n{e.hint}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
