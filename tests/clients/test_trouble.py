"""nats-py: what goes wrong, and what then happens."""

import asyncio
import os
import tempfile
import unittest

import nats
from broker import LIMIT, Broker, BrokerTest, collect, introduce, within
from nats.errors import AuthorizationError, MaxPayloadError, NoServersError


class Restart(BrokerTest):
    async def test_clients_come_back_after_a_restart(self):
        back = asyncio.Event()

        async def reconnected():
            back.set()

        async def quiet(_error):
            pass

        client = await self.connect(
            reconnect_time_wait=0.05, max_reconnect_attempts=-1,
            reconnected_cb=reconnected, error_cb=quiet,
        )
        subscription = await client.subscribe("still.here")
        await client.flush()
        await self.broker.kill()
        await self.broker.start()
        await within(back.wait())
        await client.flush(timeout=LIMIT)
        await client.publish("still.here", b"yes")
        await client.flush()
        [message] = await collect(subscription, 1)
        self.assertEqual(message.data, b"yes")


class SmallPayloads(BrokerTest):
    async def asyncSetUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        path = os.path.join(self.folder.name, "server.conf")
        with open(path, "w") as file:
            file.write("max_payload: 100\nmax_subscriptions: 2\n")
        self.flags = ("-c", path)
        await super().asyncSetUp()

    async def test_the_client_knows_the_limit(self):
        client = await self.connect()
        self.assertEqual(client.max_payload, 100)
        with self.assertRaises(MaxPayloadError):
            await client.publish("a", b"x" * 101)

    async def closed_by(self, offend):
        closed = asyncio.Event()

        async def on_close():
            closed.set()

        client = await self.connect(allow_reconnect=False, closed_cb=on_close)
        await offend(client)
        await within(closed.wait())
        return str(client.last_error).lower()

    async def test_the_server_closes_who_goes_beyond_it(self):
        async def offend(client):
            client._max_payload = 1000
            await client.publish("a", b"x" * 101)

        self.assertIn("maximum payload violation", await self.closed_by(offend))

    async def test_a_subscription_too_many_is_told(self):
        async def offend(client):
            for number in range(3):
                await client.subscribe(f"s.{number}")

        # The server goes on; it is this library that takes the error for an end.
        self.assertIn("maximum subscriptions exceeded", await self.closed_by(offend))


class Credentials(BrokerTest):
    flags = ("--user", "ann", "--pass", "secret")

    async def test_the_right_ones_are_let_in(self):
        client = await self.connect(user="ann", password="secret")
        await client.flush()
        by_url = await nats.connect(f"nats://ann:secret@127.0.0.1:{self.broker.port}")
        await by_url.flush()
        await by_url.close()

    async def test_wrong_ones_are_refused(self):
        errors = []

        async def on_error(error):
            errors.append(error)

        for credentials in ({}, {"user": "ann", "password": "no"}, {"token": "secret"}):
            with self.assertRaises((NoServersError, AuthorizationError, nats.errors.Error)):
                await within(self.connect(allow_reconnect=False, error_cb=on_error, **credentials))
        self.assertTrue(any("authorization violation" in str(e).lower() for e in errors), errors)


class Token(BrokerTest):
    flags = ("--auth", "s3cr3t")

    async def test_the_right_one_is_let_in(self):
        client = await self.connect(token="s3cr3t")
        await client.flush()


class SlowConsumer(BrokerTest):
    async def asyncSetUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        path = os.path.join(self.folder.name, "server.conf")
        with open(path, "w") as file:
            file.write('max_payload: 1MB\nmax_pending: 2MB\nwrite_deadline: "2s"\n')
        self.flags = ("-c", path)
        await super().asyncSetUp()

    async def test_who_does_not_read_is_closed_and_others_are_served(self):
        stalled_reader, stalled_writer = await asyncio.open_connection(
            "127.0.0.1", self.broker.port, limit=1024
        )
        stalled_writer.write(b'CONNECT {"verbose":false}\r\nSUB flood 1\r\nPING\r\n')
        await within(stalled_reader.readuntil(b"PONG\r\n"))
        # From here on this connection reads nothing: its socket fills, then the broker's queue.
        stalled_writer.transport.pause_reading()
        healthy, publisher = await self.connect(), await self.connect()
        subscription = await healthy.subscribe("flood", pending_bytes_limit=-1)
        await introduce(publisher, healthy)
        body = b"x" * 100_000
        for _ in range(300):
            await publisher.publish("flood", body)
            await publisher.flush(timeout=LIMIT)
            [message] = await collect(subscription, 1)
            self.assertEqual(len(message.data), len(body))
        await within(self.broker.await_log(b"Slow Consumer Detected"))
        stalled_writer.transport.abort()


class Many(unittest.IsolatedAsyncioTestCase):
    async def test_a_client_finds_the_server_that_lives(self):
        broker = Broker()
        await broker.start()
        self.addAsyncCleanup(broker.kill)

        async def quiet(_error):
            pass

        servers = ["nats://127.0.0.1:1", broker.url]
        client = await nats.connect(servers, error_cb=quiet)
        await client.flush()
        await client.close()


if __name__ == "__main__":
    unittest.main()
