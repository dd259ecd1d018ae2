"""A proxy between bookstore and an S3 server that does to requests what networks and stores do on bad days.

It runs in a thread of its own on the loopback interface. Each request is read whole, then the first rule of the plan
that matches and whose chance comes up decides what becomes of it. Chance depends on the seed, the rule, the key and
how often that key was asked for in this way, and on nothing else: the order in which requests of several keys arrive
changes nothing.

What is sent on keeps every header that a signature covers (``Host`` above all), so that a server which checks
signatures accepts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import fnmatch
import itertools
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

_T = TypeVar("_T")

_LOOPBACK: Final = "127.0.0.1"
#: Bytes of the largest head of a request or an answer.
_LARGEST_HEAD: Final = 256 * 1024
#: Seconds between two pieces of what trickles.
_DRIP: Final = 0.05
#: Seconds that the upstream server may take.
_UPSTREAM_LIMIT: Final = 60.0
_NO_BODY: Final = frozenset({204, 304})


class Fault:
    """What becomes of a request; see the subclasses."""

    @property
    def name(self) -> str:
        """The kind, as records tell it."""
        return type(self).__name__


@dataclass(frozen=True)
class Pass(Fault):
    """None: the request goes through and its answer comes back."""


@dataclass(frozen=True)
class Delay(Fault):
    """The request goes through, ``seconds`` later than it would."""

    seconds: float


@dataclass(frozen=True)
class Answer(Fault):
    """An answer without the server: S3's error document, or ``body``; nothing is sent on.

    Attributes
    ----------
    status : int
    code : str
        As in S3's documents of errors, such as ``SlowDown``.
    body : bytes or None
        Instead of the document.
    """

    status: int
    code: str = ""
    body: bytes | None = None


@dataclass(frozen=True)
class Reset(Fault):
    """The connection is reset, before the request is sent on or ``sent_on`` once it was, without its answer."""

    sent_on: bool = False


@dataclass(frozen=True)
class Hold(Fault):
    """A black hole: nothing is sent on, and no answer ever comes."""


@dataclass(frozen=True)
class Trickle(Fault):
    """The request goes in and its answer comes back at ``rate`` bytes per second; or the answer only."""

    rate: float = 1000.0
    answer_only: bool = False


@dataclass(frozen=True)
class LoseAnswer(Fault):
    """The server does what was asked; of its answer ``sent`` bytes get through, then the connection is reset."""

    sent: int = 0


@dataclass(frozen=True)
class ChangeAnswer(Fault):
    """The server does what was asked, and ``body`` stands in the place of its answer's body, under the same status."""

    body: bytes


@dataclass(frozen=True)
class Late(Fault):
    """The client is answered by ``meanwhile`` at once, and the server gets the request later.

    Attributes
    ----------
    meanwhile : Fault
        An `Answer`, a `Reset` or a `Hold`.
    after : int
        The request is sent on just before this many-th further request of its key with the method ``before`` is; 0
        leaves it to `FaultProxy.deliver_late`.
    before : str
    seconds : float
        At the latest after this many seconds; 0: no such bound.
    """

    meanwhile: Fault
    after: int = 0
    before: str = "PUT"
    seconds: float = 0.0


@dataclass(frozen=True)
class Rule:
    """When a fault strikes.

    Attributes
    ----------
    fault : Fault
    methods : tuple of str
        Empty: all.
    key : str
        A glob over the key, which is empty for requests to the bucket.
    query : str
        A name that stands in the query, such as ``versions``; empty: any.
    credential : str
        A glob over the access key that signed the request; empty: any.
    chance : float
    skip : int
        How many matching requests of each key go by first.
    times : int or None
        How often it strikes at most.
    """

    fault: Fault
    methods: tuple[str, ...] = ()
    key: str = "*"
    query: str = ""
    credential: str = ""
    chance: float = 1.0
    skip: int = 0
    times: int | None = None

    def matches(self, request: Request) -> bool:
        """Whether the rule is about such a request."""
        return (
            (not self.methods or request.method in self.methods)
            and fnmatch.fnmatchcase(request.key, self.key)
            and (not self.query or self.query in request.query)
            and (not self.credential or fnmatch.fnmatchcase(request.credential, self.credential))
        )


@dataclass(frozen=True)
class Request:
    """A request, as S3 understands it.

    Attributes
    ----------
    method, bucket, key : str
        ``bucket`` and ``key`` out of a path-style target; empty where it names none.
    query : tuple of str
        The names in the query, sorted.
    credential : str
        The access key that signed it; empty where nobody did.
    headers : dict
        Names in lower case.
    body : bytes
    head : bytes
        The head as it arrived.
    """

    method: str
    bucket: str
    key: str
    query: tuple[str, ...]
    credential: str
    headers: dict[str, str]
    body: bytes = field(repr=False)
    head: bytes = field(repr=False)


@dataclass
class Record:
    """What became of one request.

    Attributes
    ----------
    number : int
        In the order of arrival.
    method, key, query, credential
        As in `Request`.
    fault : str
        The kind of fault; ``Pass`` where none struck.
    started, ended : float
        Of the monotonic clock, as the client saw it; ``ended`` is 0 while it is under way.
    status : int
        What the client was told; 0: nothing.
    stored_status : int
        What the server told the proxy; 0: it was not asked, or did not answer.
    version_id : str
        The version that the server said it made.
    """

    number: int
    method: str
    key: str
    query: tuple[str, ...]
    credential: str
    fault: str = "Pass"
    started: float = 0.0
    ended: float = 0.0
    status: int = 0
    stored_status: int = 0
    version_id: str = ""


class _Broken(Exception):
    """A peer went away, or said what is no HTTP."""


@dataclass
class _LateRequest:
    request: Request
    record: Record
    left: int
    before: str
    timer: asyncio.TimerHandle | None = None


class FaultProxy:
    """A proxy in front of an S3 server.

    Parameters
    ----------
    upstream : str
        The server's ``endpoint_url``, plain HTTP.
    seed : int
    one_at_a_time : bool
        Send on only one write of a key at a time, for servers whose conditional writes are not atomic (moto).
    """

    def __init__(self, upstream: str, *, seed: int = 0, one_at_a_time: bool = False) -> None:
        parts = urlsplit(upstream)
        if parts.scheme != "http" or parts.hostname is None or parts.port is None:
            raise ValueError(f"the server behind the proxy speaks plain HTTP on a port of its own, not {upstream!r}")
        self.seed = seed
        self.records: list[Record] = []
        self._upstream = (parts.hostname, parts.port)
        self._one_at_a_time = one_at_a_time
        self._rules: tuple[Rule, ...] = ()
        self._seen: Counter[tuple[int, str, str]] = Counter()
        self._struck: Counter[int] = Counter()
        self._late: list[_LateRequest] = []
        self._writing: dict[str, asyncio.Lock] = {}
        self._numbers = itertools.count(1)
        self._port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()

    # -- life ------------------------------------------------------------------------------------------------------

    @property
    def endpoint_url(self) -> str:
        """Where the proxy answers, once it is started; the same after `down` and `up`."""
        return f"http://{_LOOPBACK}:{self._port}"

    def start(self) -> None:
        """Start to listen."""
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self._call(self._listen())

    def stop(self) -> None:
        """Reset all connections and stop to listen; what is late is never delivered."""
        if self._loop is None or self._thread is None:
            return
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def down(self) -> None:
        """Refuse connections, and reset those there are."""
        self._call(self._close())

    def up(self) -> None:
        """Listen again, on the same port."""
        self._call(self._listen())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # -- the plan --------------------------------------------------------------------------------------------------

    def plan(self, *rules: Rule) -> None:
        """Follow these rules from now on, instead of those before; counting begins anew."""

        async def change() -> None:
            self._rules = rules
            self._seen.clear()
            self._struck.clear()

        self._call(change())

    def deliver_late(self) -> int:
        """Send on all that is late, in the order of arrival; how much that was."""

        async def deliver() -> int:
            late, self._late = self._late, []
            for one in late:
                await self._deliver(one)
            return len(late)

        return self._call(deliver())

    @property
    def late(self) -> int:
        """How many requests are still to be sent on."""
        return len(self._late)

    # -- what happened ---------------------------------------------------------------------------------------------

    def struck(self, kind: type[Fault] | None = None) -> int:
        """How many requests met a fault, of a kind or of any."""
        return sum(r.fault != "Pass" if kind is None else r.fault == kind.__name__ for r in tuple(self.records))

    def requests(self, method: str, key: str = "*") -> list[Record]:
        """The records of a method and of the keys that a glob matches, in the order of arrival."""
        return [r for r in tuple(self.records) if r.method == method and fnmatch.fnmatchcase(r.key, key)]

    # -- the thread's side -----------------------------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        if self._loop is None:
            work.close()
            raise RuntimeError("the proxy is not running")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_UPSTREAM_LIMIT)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._connected, _LOOPBACK, self._port, limit=_LARGEST_HEAD, backlog=512
            )
            self._port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _end(self) -> None:
        await self._close()
        for late in self._late:
            if late.timer is not None:
                late.timer.cancel()
        self._late.clear()
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._tasks.add(task)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (OSError, _Broken, asyncio.CancelledError):
            pass  # the client went away, or the proxy does
        finally:
            self._tasks.discard(task)
            _reset(writer)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; whether the connection stays open."""
        head = await _read_head(reader)
        if not head:
            return False
        request = await _read_request(head, reader, writer)
        fault = self._choose(request)
        record = Record(
            next(self._numbers),
            request.method,
            request.key,
            request.query,
            request.credential,
            fault.name,
            time.monotonic(),
        )
        self.records.append(record)
        gone = asyncio.ensure_future(_gone(reader))
        served = asyncio.ensure_future(self._carry_out(fault, request, record, writer))
        try:
            await asyncio.wait({gone, served}, return_when=asyncio.FIRST_COMPLETED)
            if not served.done() and isinstance(fault, (Hold, Late, Trickle)):
                # The client has given up, and with it ends what it would have sent or read.
                served.cancel()
            return await served
        finally:
            record.ended = time.monotonic()
            for part in (gone, served):
                part.cancel()
            await asyncio.gather(gone, served, return_exceptions=True)

    def _choose(self, request: Request) -> Fault:
        for number, rule in enumerate(self._rules):
            if not rule.matches(request):
                continue
            self._seen[number, request.method, request.key] += 1
            nth = self._seen[number, request.method, request.key]
            # No secret: chance that can be repeated.
            dice = random.Random(f"{self.seed}/{number}/{request.method}/{request.key}/{nth}").random()  # noqa: S311
            if (
                nth <= rule.skip
                or dice >= rule.chance
                or (rule.times is not None and self._struck[number] >= rule.times)
            ):
                continue
            self._struck[number] += 1
            return rule.fault
        return Pass()

    async def _carry_out(self, fault: Fault, request: Request, record: Record, writer: asyncio.StreamWriter) -> bool:
        if isinstance(fault, Late):
            self._keep_late(fault, request, record)
            fault = fault.meanwhile
        if isinstance(fault, Hold):
            await asyncio.Event().wait()
        if isinstance(fault, Answer):
            record.status = fault.status
            await _send(writer, _answer(fault, request))
            return True
        if isinstance(fault, Reset):
            if fault.sent_on:
                self._in_background(self._pass_quietly(request, record))
                # The server gets it whole, whatever becomes of the answer.
                await asyncio.sleep(0)
            return False
        if isinstance(fault, Delay):
            await asyncio.sleep(fault.seconds)
        if isinstance(fault, Trickle) and not fault.answer_only:
            await asyncio.sleep((len(request.head) + len(request.body)) / fault.rate)
        answer = await self._ask(request, record)
        if isinstance(fault, LoseAnswer):
            await _send(writer, answer.raw[: fault.sent])
            return False
        if isinstance(fault, ChangeAnswer):
            answer = replace(answer, body=fault.body)
        record.status = answer.status
        if isinstance(fault, Trickle):
            await _drip(writer, answer.raw, fault.rate)
        else:
            await _send(writer, answer.raw)
        return True

    # -- the server's side -----------------------------------------------------------------------------------------

    async def _ask(self, request: Request, record: Record) -> _ServerAnswer:
        """Send a request on and read the whole answer."""
        await self._deliver_what_was_to_be_before(request)
        return await self._forward(request, record)

    async def _forward(self, request: Request, record: Record) -> _ServerAnswer:
        async with contextlib.AsyncExitStack() as stack:
            if self._one_at_a_time and request.method not in ("GET", "HEAD"):
                await stack.enter_async_context(self._writing.setdefault(request.key, asyncio.Lock()))
            try:
                answer = await asyncio.wait_for(_talk(self._upstream, request), _UPSTREAM_LIMIT)
            except asyncio.TimeoutError as e:
                raise _Broken("the server does not answer") from e
        record.stored_status = answer.status
        record.version_id = answer.headers.get("x-amz-version-id", "")
        return answer

    async def _pass_quietly(self, request: Request, record: Record) -> None:
        with contextlib.suppress(OSError, _Broken):
            await self._ask(request, record)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _keep_late(self, fault: Late, request: Request, record: Record) -> None:
        late = _LateRequest(request, record, fault.after, fault.before)
        self._late.append(late)
        if fault.seconds:

            def deliver() -> None:
                if late in self._late:
                    self._late.remove(late)
                    self._in_background(self._deliver(late))

            late.timer = asyncio.get_running_loop().call_later(fault.seconds, deliver)

    async def _deliver_what_was_to_be_before(self, request: Request) -> None:
        due = []
        for late in self._late:
            if late.left and late.request.key == request.key and late.before == request.method:
                late.left -= 1
                if not late.left:
                    due.append(late)
        for late in due:
            self._late.remove(late)
            await self._deliver(late)

    async def _deliver(self, late: _LateRequest) -> None:
        if late.timer is not None:
            late.timer.cancel()
        with contextlib.suppress(OSError, _Broken):
            await self._forward(late.request, late.record)


# -- HTTP ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _ServerAnswer:
    status: int
    reason: str
    headers: dict[str, str]
    lines: tuple[str, ...]
    body: bytes
    has_body: bool

    @property
    def raw(self) -> bytes:
        """The answer for a connection that stays open; what a HEAD tells of a length is kept."""
        lines = [f"HTTP/1.1 {self.status} {self.reason}", *self.lines]
        if self.has_body:
            lines.append(f"Content-Length: {len(self.body)}")
        elif "content-length" in self.headers:
            lines.append(f"Content-Length: {self.headers['content-length']}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    """Read up to the empty line; empty at the end of the connection."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as e:
        if e.partial:
            raise _Broken("the connection ended within a head") from e
        return b""
    except asyncio.LimitOverrunError as e:
        raise _Broken("the head is too long") from e


def _headers(head: bytes) -> tuple[str, dict[str, str], tuple[str, ...]]:
    """Take a head apart: its first line, its headers by name in lower case, and their lines as they are."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = [line.partition(":") for line in lines]
    return first, {name.strip().lower(): value.strip() for name, _, value in pairs}, tuple(lines)


async def _read_request(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    first, headers, _ = _headers(head)
    method, _, rest = first.partition(" ")
    target = urlsplit(rest.rpartition(" ")[0])
    if headers.get("expect", "").lower() == "100-continue":
        await _send(writer, b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _read_body(headers, reader)
    _, bucket, key = [*(unquote(part) for part in target.path.split("/", 2)), "", ""][:3]
    signed_by = re.search(r"Credential=([^/,]+)/", headers.get("authorization", ""))
    return Request(
        method=method,
        bucket=bucket,
        key=key,
        query=tuple(sorted(parse_qs(target.query, keep_blank_values=True))),
        credential=signed_by[1] if signed_by else "",
        headers=headers,
        body=body,
        head=head,
    )


async def _read_body(headers: dict[str, str], reader: asyncio.StreamReader) -> bytes:
    try:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return await _read_chunks(reader)
        return await reader.readexactly(int(headers.get("content-length") or 0))
    except (asyncio.IncompleteReadError, ValueError) as e:
        raise _Broken("the connection ended within a body") from e


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        part = await reader.readexactly(size + 2)
        if not size:
            return b"".join(parts)
        parts.append(part[:-2])


async def _talk(upstream: tuple[str, int], request: Request) -> _ServerAnswer:
    """One request over a connection of its own: an old one that the server just closed would lose it."""
    reader, writer = await asyncio.open_connection(*upstream, limit=_LARGEST_HEAD)
    try:
        first, _, lines = _headers(request.head)
        # These three describe a connection and are in nobody's signature.
        framing = ("connection:", "expect:", "transfer-encoding:", "content-length:")
        kept = [line for line in lines if not line.lower().startswith(framing)]
        if request.body or "content-length" in request.headers:
            kept.append(f"Content-Length: {len(request.body)}")
        head = "\r\n".join([first, *kept, "Connection: close", "", ""]).encode("latin-1")
        writer.write(head + request.body)
        await writer.drain()
        answer_head = await _read_head(reader)
        while answer_head.split(b" ", 2)[1:2] == [b"100"]:
            answer_head = await _read_head(reader)
        if not answer_head:
            raise _Broken("the server closed the connection without an answer")
        first, headers, lines = _headers(answer_head)
        _, status_text, reason = [*first.split(" ", 2), ""][:3]
        status = int(status_text)
        has_body = request.method != "HEAD" and status not in _NO_BODY
        body = b""
        if has_body and not {"content-length", "transfer-encoding"} & headers.keys():
            body = await reader.read()
        elif has_body:
            body = await _read_body(headers, reader)
        kept = [line for line in lines if not line.lower().startswith(framing)]
        return _ServerAnswer(status, reason, headers, tuple(kept), body, has_body)
    finally:
        writer.close()


def _answer(fault: Answer, request: Request) -> bytes:
    """Answer as S3 answers ("Error responses" in its API reference)."""
    code = fault.code or {429: "TooManyRequests", 503: "SlowDown"}.get(fault.status, "InternalError")
    document = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{escape(code)}</Code><Message>the fault proxy says so</Message>"
        f"<Resource>/{escape(request.bucket)}/{escape(request.key)}</Resource><RequestId>0</RequestId></Error>"
    )
    body = document.encode() if fault.body is None else fault.body
    head = (
        f"HTTP/1.1 {fault.status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
        f"Date: {email.utils.formatdate(usegmt=True)}\r\nServer: AmazonS3\r\n\r\n"
    )
    return head.encode() + (b"" if request.method == "HEAD" else body)


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def _drip(writer: asyncio.StreamWriter, data: bytes, rate: float) -> None:
    step = max(1, int(rate * _DRIP))
    for start in range(0, len(data), step):
        await _send(writer, data[start : start + step])
        await asyncio.sleep(_DRIP)


async def _gone(reader: asyncio.StreamReader) -> None:
    """Wait until the client closes the connection; a client of S3 sends nothing before it is answered."""
    # A reader tells of its end only to who reads, and what is read here would be missing there.
    while not reader.at_eof() and reader.exception() is None:  # noqa: ASYNC110
        await asyncio.sleep(_DRIP)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):  # gone already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def any_of(faults: Sequence[Fault], chance: float, **match: Any) -> tuple[Rule, ...]:
    """Rules by which each of the faults strikes equally often, all of them together with the given chance."""
    rules = []
    for number, fault in enumerate(faults):
        share = chance / len(faults)
        # A rule is asked only where those before it passed.
        rules.append(Rule(fault, chance=share / (1 - share * number), **match))
    return tuple(rules)
