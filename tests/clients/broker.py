"""Starts the broker under test for the scripts beside this file.

`BROKER` holds its command as a JSON list, for example `["target/debug/ringmesh", "--shards", "2"]`.
"""

import asyncio
import json
import os
import unittest

import nats

LIMIT = 20
COMMAND = json.loads(os.environ["BROKER"])
READY = b"Server is ready"
LISTENING = b"Listening for client connections on 127.0.0.1:"


class Broker:
    """A broker process; `start` returns once it serves."""

    def __init__(self, *flags):
        self.flags = flags
        self.port = -1
        self.log = b""
        self.grown = asyncio.Event()

    async def start(self):
        address = ["-a", "127.0.0.1", "-p", str(self.port)]
        self.process = await asyncio.create_subprocess_exec(
            *COMMAND, *address, *self.flags, stderr=asyncio.subprocess.PIPE
        )
        await asyncio.wait_for(self._await_ready(), LIMIT)
        # The pipe must be read on, or the broker would block on its log one day.
        self.reader = asyncio.create_task(self._read_on())

    async def _await_ready(self):
        while READY not in self.log:
            line = await self.process.stderr.readline()
            assert line, f"the broker ended: {self.log.decode()}"
            self.log += line
            if LISTENING in line:
                self.port = int(line.split(LISTENING)[1])

    async def _read_on(self):
        while line := await self.process.stderr.readline():
            self.log += line
            self.grown.set()

    async def await_log(self, text):
        while text not in self.log:
            self.grown.clear()
            await self.grown.wait()

    async def kill(self):
        self.process.kill()
        await self.process.wait()
        await self.reader
        self.log = b""

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"


class BrokerTest(unittest.IsolatedAsyncioTestCase):
    """A test with a broker of its own kind; `flags` are the broker's."""

    flags = ()

    async def asyncSetUp(self):
        # The test case turns asyncio's debug mode on, which is slow and talks.
        asyncio.get_running_loop().set_debug(False)
        self.broker = Broker(*self.flags)
        await self.broker.start()
        self.addAsyncCleanup(self.broker.kill)

    async def connect(self, **options):
        client = await nats.connect(self.broker.url, **options)
        self.addAsyncCleanup(client.close)
        return client


async def within(awaitable):
    """What must happen, but must not hold the test forever."""
    return await asyncio.wait_for(awaitable, LIMIT)


async def collect(subscription, count):
    """The next messages of a subscription."""
    return [await subscription.next_msg(timeout=LIMIT) for _ in range(count)]


async def introduce(publisher, subscriber):
    """Comes back when the publisher's messages reach the subscriber.

    All that the subscriber has subscribed to is live there then, and all that the publisher has
    published before has arrived. The library's own `flush` does not tell: its PING may overtake
    what it has not sent yet.
    """
    inbox = subscriber.new_inbox()
    subscription = await subscriber.subscribe(inbox)

    async def arrives():
        while True:
            await publisher.publish(inbox)
            try:
                return await subscription.next_msg(timeout=0.05)
            except nats.errors.TimeoutError:
                pass

    await within(arrives())
    await subscription.unsubscribe()
