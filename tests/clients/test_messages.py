"""nats-py: publishing, subscribing, asking, as applications do."""

import asyncio
import unittest

from broker import BrokerTest, collect, introduce, within
from nats.errors import NoRespondersError


class Messages(BrokerTest):
    async def test_a_message_reaches_its_subscribers_in_order(self):
        publisher, one, two = await self.connect(), await self.connect(), await self.connect()
        subscriptions = [await client.subscribe("orders.*") for client in (one, two)]
        await introduce(publisher, one)
        await introduce(publisher, two)
        for number in range(1000):
            await publisher.publish("orders.eu", str(number).encode())
        await publisher.flush()
        for subscription in subscriptions:
            received = await collect(subscription, 1000)
            self.assertEqual([int(message.data) for message in received], list(range(1000)))

    async def test_requests_are_answered(self):
        server, client = await self.connect(), await self.connect()

        async def answer(message):
            await message.respond(b"re: " + message.data)

        await server.subscribe("ask", cb=answer)
        await introduce(client, server)
        for number in range(300):
            reply = await client.request("ask", str(number).encode(), timeout=20)
            self.assertEqual(reply.data, f"re: {number}".encode())

    async def test_many_requests_at_once_are_answered(self):
        server, client = await self.connect(), await self.connect()

        async def answer(message):
            await message.respond(message.data)

        await server.subscribe("ask", "workers", cb=answer)
        await introduce(client, server)
        asked = [client.request("ask", str(n).encode(), timeout=20) for n in range(300)]
        replies = await asyncio.gather(*asked)
        self.assertEqual([int(reply.data) for reply in replies], list(range(300)))

    async def test_old_style_requests_are_answered(self):
        server, client = await self.connect(), await self.connect()

        async def answer(message):
            await message.respond(b"yes")

        await server.subscribe("ask", cb=answer)
        await introduce(client, server)
        reply = await client.request("ask", b"?", timeout=20, old_style=True)
        self.assertEqual(reply.data, b"yes")

    async def test_the_server_answers_the_first_request_of_a_connection(self):
        for _ in range(16):
            client = await self.connect()
            reply = await client.request("$SYS.REQ.USER.INFO", b"", timeout=20)
            self.assertIn(b'"account":"$G"', reply.data)
            await client.close()

    async def test_a_request_that_nobody_hears_fails_at_once(self):
        client = await self.connect()
        with self.assertRaises(NoRespondersError):
            await client.request("nobody", b"?", timeout=20)

    async def test_a_queue_group_delivers_each_message_to_one_member(self):
        publisher = await self.connect()
        counts = [0] * 4
        done = asyncio.Event()

        def counter(index):
            async def count(_message):
                counts[index] += 1
                if sum(counts) == 400:
                    done.set()

            return count

        members = [await self.connect() for _ in counts]
        for index, member in enumerate(members):
            await member.subscribe("work", "group", cb=counter(index))
            await introduce(publisher, member)
        for _ in range(400):
            await publisher.publish("work", b"x")
        await publisher.flush()
        await within(done.wait())
        for member in members:
            await introduce(publisher, member)
        self.assertEqual(sum(counts), 400)
        self.assertTrue(all(count > 0 for count in counts), counts)

    async def test_headers_arrive(self):
        client = await self.connect()
        subscription = await client.subscribe("headed")
        await client.publish("headed", b"body", headers={"Key": "value", "Other": "one two"})
        await client.flush()
        [message] = await collect(subscription, 1)
        self.assertEqual(message.headers, {"Key": "value", "Other": "one two"})
        self.assertEqual(message.data, b"body")

    async def test_large_messages_arrive_whole(self):
        publisher, subscriber = await self.connect(), await self.connect()
        self.assertEqual(publisher.max_payload, 1024 * 1024)
        subscription = await subscriber.subscribe("large")
        await introduce(publisher, subscriber)
        bodies = [bytes([65 + number]) * (1024 * 1024) for number in range(10)]
        for body in bodies:
            await publisher.publish("large", body)
        await publisher.flush()
        self.assertEqual([m.data for m in await collect(subscription, 10)], bodies)

    async def test_thousands_of_subscriptions_live_on_one_connection(self):
        client = await self.connect()
        subscriptions = [await client.subscribe(f"many.{n}") for n in range(2000)]
        await client.flush(timeout=20)
        for number in range(2000):
            await client.publish(f"many.{number}", str(number).encode())
        await client.flush(timeout=20)
        for number, subscription in enumerate(subscriptions):
            [message] = await collect(subscription, 1)
            self.assertEqual(int(message.data), number)

    async def test_unsubscribing_after_a_number_of_messages(self):
        client = await self.connect()
        subscription = await client.subscribe("few")
        await subscription.unsubscribe(limit=3)
        for number in range(5):
            await client.publish("few", str(number).encode())
        await client.flush()
        self.assertEqual([m.data for m in await collect(subscription, 3)], [b"0", b"1", b"2"])

    async def test_draining_loses_nothing(self):
        publisher, subscriber = await self.connect(), await self.connect()
        received = []

        async def take(message):
            received.append(message.data)

        await subscriber.subscribe("drained", cb=take)
        await introduce(publisher, subscriber)
        for number in range(500):
            await publisher.publish("drained", str(number).encode())
        await introduce(publisher, subscriber)
        await within(subscriber.drain())
        self.assertEqual([int(data) for data in received], list(range(500)))
        self.assertTrue(subscriber.is_closed)

    async def test_a_client_without_echo_does_not_hear_itself(self):
        client = await self.connect(no_echo=True)
        other = await self.connect()
        subscription = await client.subscribe("echo")
        await introduce(other, client)
        await client.publish("echo", b"mine")
        await introduce(client, other)
        await other.publish("echo", b"theirs")
        await other.flush()
        [message] = await collect(subscription, 1)
        self.assertEqual(message.data, b"theirs")

    async def test_verbose_and_pedantic_clients_work(self):
        client = await self.connect(verbose=True, pedantic=True)
        subscription = await client.subscribe("strict")
        await client.publish("strict", b"x")
        await client.flush()
        [message] = await collect(subscription, 1)
        self.assertEqual(message.data, b"x")

    async def test_a_hundred_clients_talk_to_each_other(self):
        clients = await asyncio.gather(*(self.connect(name=f"c{n}") for n in range(100)))
        subscriptions = [await c.subscribe(f"to.{n}") for n, c in enumerate(clients)]
        for number, client in enumerate(clients):
            await introduce(client, clients[(number + 1) % 100])
        for number, client in enumerate(clients):
            await client.publish(f"to.{(number + 1) % 100}", str(number).encode())
            await client.flush()
        for number, subscription in enumerate(subscriptions):
            [message] = await collect(subscription, 1)
            self.assertEqual(int(message.data), (number - 1) % 100)

    async def test_the_server_tells_what_clients_gate_on(self):
        client = await self.connect()
        self.assertIn("v2.15.1", str(client.connected_server_version))
        self.assertGreater(client.client_id, 0)


if __name__ == "__main__":
    unittest.main()
