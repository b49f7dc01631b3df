"""nats-py in a cluster: reconnecting to another node, and JetStream from a node that has none.

`PEER` is the path of nats-server; `BROKER` is the program of the node that clients connect to;
`NATS_CLI` is the path of the `nats` command, if there is one. The nodes of a cluster are started
once for all tests of a class.
"""

import asyncio
import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

import nats
from broker import COMMAND, LIMIT, collect, within
from nats.errors import NoRespondersError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StorageType
from nats.js.errors import (
    KeyNotFoundError,
    KeyWrongLastSequenceError,
    NoKeysError,
    NotFoundError,
)

PEER = [os.environ["PEER"]]


async def listed(store):
    """The keys of a store that has some, each once.

    The client lists a key again for each of its values, and a consumer on a replica that is behind gives
    a value that is no longer the last, and then the last one.
    """
    # The client takes a consumer that has delivered everything for one that had nothing to deliver,
    # when it is told so first. Keys and answers come by different connections, from nats-server too.
    while True:
        try:
            return sorted(set(await store.keys()))
        except NoKeysError:
            await asyncio.sleep(0.01)


def reserve_port():
    """A port that nobody else is given while the socket lives; a server may listen beside it."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


class Node:
    """A node with fixed ports, so that the others find it again."""

    def __init__(self, folder, name, command):
        self.name, self.command = name, command
        self.holders = [reserve_port(), reserve_port()]
        self.port, self.cluster_port = (holder.getsockname()[1] for holder in self.holders)
        self.config = os.path.join(folder, f"{name}.conf")
        self.log_path = os.path.join(folder, f"{name}.log")
        self.process = None

    def configure(self, seeds, top="", cluster=""):
        routes = json.dumps([f"nats://127.0.0.1:{seed.cluster_port}" for seed in seeds])
        with open(self.config, "w") as file:
            file.write(
                f"server_name: {self.name}\nlisten: \"127.0.0.1:{self.port}\"\n{top}\n"
                f"cluster {{ name: mesh, listen: \"127.0.0.1:{self.cluster_port}\"\n"
                f"routes: {routes}\n{cluster} }}\n"
            )

    def start(self):
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(
                [*self.command, "-D", "-c", self.config], stderr=log, stdin=subprocess.DEVNULL
            )
        self.await_log("Server is ready")

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def await_log(self, text):
        deadline = time.monotonic() + LIMIT
        while text not in self.log():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"no {text!r} in the log of {self.name}:\n{self.log()}")
            time.sleep(0.01)

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"


class ClusterTest(unittest.IsolatedAsyncioTestCase):
    """A test with nodes of its class; the logs are shown when one of its tests fails."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        cls.nodes = cls.plan()
        for node in cls.nodes:
            node.start()

    @classmethod
    def tearDownClass(cls):
        for node in cls.nodes:
            node.kill()
            for holder in node.holders:
                holder.close()
        shutil.rmtree(cls.folder)

    async def connect(self, node, **options):
        client = await nats.connect(node.url, **options)
        self.addAsyncCleanup(client.close)
        return client

    async def asyncTearDown(self):
        outcome = self._outcome.result
        if any(test is self for test, _ in outcome.failures + outcome.errors):
            for node in self.nodes:
                print(f"--- the log of {node.name} ---\n{node.log()}")


class Reconnect(ClusterTest):
    @classmethod
    def plan(cls):
        nodes = [Node(cls.folder, name, COMMAND) for name in "ab"]
        nodes.append(Node(cls.folder, "c", PEER))
        for node in nodes:
            node.configure(nodes)
        return nodes

    async def test_clients_go_to_another_node_that_they_were_told_of(self):
        for lost in range(3):
            await self.lose(lost)

    async def lose(self, lost):
        back = asyncio.Event()

        async def reconnected():
            back.set()

        async def quiet(_error):
            pass

        client = await self.connect(
            self.nodes[lost], reconnect_time_wait=0.05, max_reconnect_attempts=-1,
            reconnected_cb=reconnected, error_cb=quiet,
        )
        others = [node for node in self.nodes if node is not self.nodes[lost]]

        async def told():
            while not all(any(str(node.port) in url.netloc for url in client.discovered_servers)
                          for node in others):
                await asyncio.sleep(0.01)

        await within(told())
        subscription = await client.subscribe("still.here")
        await client.flush()
        self.nodes[lost].kill()
        await within(back.wait())
        self.assertIn(client.connected_url.port, [node.port for node in others])
        # The message comes by the other of those that are left.
        other = next(node for node in others if node.port != client.connected_url.port)
        publisher = await self.connect(other)

        async def arrives():
            while True:
                await publisher.publish("still.here", b"yes")
                try:
                    return await subscription.next_msg(timeout=0.05)
                except nats.errors.TimeoutError:
                    pass

        message = await within(arrives())
        self.assertEqual(message.data, b"yes")
        await client.close()
        await publisher.close()
        self.nodes[lost].start()


class JetStream:
    """Streams live on three nodes of nats-server; clients are at a node without any."""

    top = ""
    options = {}

    @classmethod
    def plan(cls):
        storing = [Node(cls.folder, f"js{number}", PEER) for number in range(3)]
        for node in storing:
            store = os.path.join(cls.folder, f"store-{node.name}")
            node.configure(storing, f"jetstream {{ store_dir: {json.dumps(store)} }}\n{cls.top}")
        outside = Node(cls.folder, "outside", COMMAND)
        outside.configure(storing, cls.top)
        return [*storing, outside]

    async def asyncSetUp(self):
        self.client = await self.connect(self.nodes[3], **self.options)
        self.inside = await self.connect(self.nodes[0], **self.options)
        self.js = self.client.jetstream(timeout=LIMIT)
        # The nodes choose a leader first, and until then nobody answers.
        await within(self.leader())

    async def leader(self):
        impatient = self.client.jetstream(timeout=0.2)
        while True:
            try:
                await impatient.account_info()
                await impatient.streams_info()
                return
            except (nats.errors.Error, nats.js.errors.Error, TimeoutError):
                await asyncio.sleep(0.05)

    async def stream(self, name, **options):
        async def add():
            while True:
                try:
                    return await self.js.add_stream(
                        name=name, subjects=[f"{name}.>"], num_replicas=3, **options
                    )
                except nats.js.errors.Error:
                    # Right after the start not every node is known as one that stores.
                    await asyncio.sleep(0.05)

        info = await within(add())
        self.addAsyncCleanup(self.js.delete_stream, name)
        await within(self.heard(f"{name}.x"))
        return info

    async def heard(self, subject):
        # The answer and the stream's interest come by different connections, and either may be first,
        # with nats-server too. A message for another stream is refused and not stored.
        while True:
            try:
                await self.js.publish(subject, b"", stream="another")
            except nats.js.errors.NoStreamResponseError:
                await asyncio.sleep(0.01)
            except nats.js.errors.APIError:
                return

    async def test_streams_are_made_listed_and_deleted(self):
        info = await self.stream("made", storage=StorageType.MEMORY)
        self.assertEqual(info.config.num_replicas, 3)
        self.assertEqual(info.cluster.name, "mesh")
        self.assertEqual(len(info.cluster.replicas), 2)
        names = [info.config.name for info in await self.js.streams_info()]
        self.assertIn("made", names)
        info = await self.js.add_stream(name="short", subjects=["short"], num_replicas=3)
        await self.js.delete_stream("short")
        with self.assertRaises(NotFoundError):
            await self.js.stream_info("short")

    async def test_publishing_is_acknowledged(self):
        await self.stream("acked")
        for number in range(1, 101):
            ack = await self.js.publish("acked.x", str(number).encode())
            self.assertEqual((ack.stream, ack.seq), ("acked", number))
        again = [
            await self.js.publish("acked.x", b"x", headers={"Nats-Msg-Id": "one"}) for _ in range(2)
        ]
        self.assertEqual([ack.seq for ack in again], [101, 101])
        self.assertTrue(again[1].duplicate)
        pending = [await self.js.publish_async("acked.x", b"x") for _ in range(500)]
        acks = await within(asyncio.gather(*pending))
        self.assertEqual(sorted(ack.seq for ack in acks), list(range(102, 602)))

    async def test_pull_consumers_give_what_was_stored(self):
        await self.stream("pulled")
        for number in range(200):
            await self.js.publish(f"pulled.{number % 3}", str(number).encode())
        subscription = await self.js.pull_subscribe("pulled.>", durable="puller")
        messages = []
        while len(messages) < 200:
            for message in await subscription.fetch(37, timeout=LIMIT):
                messages.append(message)
                await message.ack_sync(timeout=LIMIT)
        self.assertEqual([int(message.data) for message in messages], list(range(200)))
        # The subject is that of the message, not the inbox it came through.
        self.assertEqual([m.subject for m in messages[:3]], [f"pulled.{n}" for n in range(3)])
        self.assertEqual([m.metadata.sequence.stream for m in messages], list(range(1, 201)))
        info = await subscription.consumer_info()
        self.assertEqual((info.num_ack_pending, info.num_pending), (0, 0))
        with self.assertRaises((nats.errors.TimeoutError, TimeoutError)):
            await subscription.fetch(1, timeout=0.2)

    async def test_push_consumers_give_what_comes(self):
        await self.stream("pushed")
        subscription = await self.js.subscribe("pushed.>", durable="pusher", manual_ack=True)
        for number in range(100):
            await self.js.publish("pushed.x", str(number).encode())
        messages = await collect(subscription, 100)
        self.assertEqual([int(message.data) for message in messages], list(range(100)))
        self.assertTrue(all(message.subject == "pushed.x" for message in messages))
        for message in messages:
            await message.ack()
        await within(self.acknowledged("pushed", "pusher"))

    async def acknowledged(self, stream, consumer):
        while (await self.js.consumer_info(stream, consumer)).num_ack_pending:
            await asyncio.sleep(0.02)

    async def test_ordered_consumers_and_headers_work(self):
        await self.stream("ordered")
        subscription = await self.js.subscribe("ordered.>", ordered_consumer=True)
        for number in range(300):
            await self.js.publish("ordered.x", b"x" * number, headers={"Number": str(number)})
        messages = await collect(subscription, 300)
        self.assertEqual([m.headers["Number"] for m in messages], [str(n) for n in range(300)])
        self.assertEqual([len(m.data) for m in messages], list(range(300)))

    async def test_a_group_shares_a_push_consumer(self):
        await self.stream("shared")
        members = []
        for client in [self.client, self.client, self.inside]:
            members.append(await client.jetstream(timeout=LIMIT).subscribe("shared.>", "group"))
        for number in range(90):
            await self.js.publish("shared.x", str(number).encode())
        taken = []

        async def take(member):
            while True:
                taken.append(int((await member.next_msg(timeout=LIMIT)).data))

        tasks = [asyncio.create_task(take(member)) for member in members]

        async def all_taken():
            while len(taken) < 90:
                await asyncio.sleep(0.01)

        await within(all_taken())
        for task in tasks:
            task.cancel()
        self.assertEqual(sorted(taken), list(range(90)))

    async def test_what_is_refused_comes_again(self):
        await self.stream("again")
        await self.js.publish("again.x", b"x")
        subscription = await self.js.pull_subscribe("again.>", durable="again")
        [message] = await subscription.fetch(1, timeout=LIMIT)
        await message.nak()
        [message] = await subscription.fetch(1, timeout=LIMIT)
        self.assertEqual(message.metadata.num_delivered, 2)
        await message.in_progress()
        await message.term()
        await within(self.acknowledged("again", "again"))

    async def test_stored_messages_are_read_directly(self):
        await self.stream("direct", allow_direct=True)
        for number in range(10):
            await self.js.publish(f"direct.{number}", str(number).encode())
        message = await self.js.get_msg("direct", 4)
        self.assertEqual((message.subject, message.data), ("direct.3", b"3"))
        message = await self.js.get_msg("direct", subject="direct.7", direct=True)
        self.assertEqual(message.data, b"7")
        message = await self.js.get_last_msg("direct", "direct.9")
        self.assertEqual(message.data, b"9")

    async def test_consumers_are_made_for_others(self):
        await self.stream("handed")
        await self.js.publish("handed.x", b"1")
        inbox = self.client.new_inbox()
        subscription = await self.client.subscribe(inbox)
        await self.client.flush()
        config = ConsumerConfig(
            durable_name="handed", deliver_subject=inbox, ack_policy=AckPolicy.EXPLICIT,
            deliver_policy=DeliverPolicy.ALL,
        )
        # Somebody at another node asks; the messages come here.
        await self.inside.jetstream(timeout=LIMIT).add_consumer("handed", config)
        [message] = await collect(subscription, 1)
        self.assertEqual((message.subject, message.data), ("handed.x", b"1"))
        await message.ack_sync(timeout=LIMIT)

    async def test_key_value_stores_work(self):
        keys = await self.js.create_key_value(bucket="settings", replicas=3, history=5)
        await within(self.heard("$KV.settings.x"))
        self.addAsyncCleanup(self.js.delete_key_value, "settings")
        watcher = await keys.watchall()
        self.assertIsNone(await watcher.updates(timeout=LIMIT))
        revision = await keys.put("color", b"red")
        entry = await keys.get("color")
        self.assertEqual((entry.value, entry.revision), (b"red", revision))
        await keys.update("color", b"blue", last=revision)
        with self.assertRaises(KeyWrongLastSequenceError):
            await keys.update("color", b"green", last=revision)
        await keys.create("size", b"5")
        self.assertEqual(await within(listed(keys)), ["color", "size"])
        await keys.delete("size")
        with self.assertRaises(KeyNotFoundError):
            await keys.get("size")
        history = [entry.value for entry in await keys.history("color")]
        self.assertEqual(history, [b"red", b"blue"])
        seen = [(await watcher.updates(timeout=LIMIT)) for _ in range(4)]
        self.assertEqual(
            [(entry.key, entry.value) for entry in seen[:3]],
            [("color", b"red"), ("color", b"blue"), ("size", b"5")],
        )
        self.assertEqual(seen[3].operation, "DEL")
        # Who is at a node that stores sees the same.
        inside = await self.inside.jetstream(timeout=LIMIT).key_value("settings")
        self.assertEqual((await inside.get("color")).value, b"blue")

    async def test_object_stores_work(self):
        store = await self.js.create_object_store("objects")
        await within(self.heard("$O.objects.M.x"))
        self.addAsyncCleanup(self.js.delete_object_store, "objects")
        body = random.Random(5).randbytes(1_500_000)
        info = await store.put("big", body)
        self.assertEqual(info.size, len(body))
        result = await store.get("big")
        self.assertEqual(hashlib.sha256(result.data).digest(), hashlib.sha256(body).digest())
        self.assertEqual([entry.name for entry in await store.list()], ["big"])
        await store.delete("big")
        with self.assertRaises(nats.js.errors.Error):
            await store.get("big")

    async def nats_command(self, *words):
        login = "{user}:{password}@".format(**self.options) if self.options else ""
        url = self.nodes[3].url.replace("://", f"://{login}")
        process = await asyncio.create_subprocess_exec(
            os.environ["NATS_CLI"], "--server", url, "--timeout", f"{LIMIT}s", *words,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "HOME": self.folder},
        )
        said, _ = await within(process.communicate())
        self.assertEqual(process.returncode, 0, f"nats {words}: {said.decode()}")
        return said

    @unittest.skipUnless("NATS_CLI" in os.environ, "without Go there is no nats command")
    async def test_the_nats_command_stores_and_reads(self):
        await self.stream("typed")
        self.assertIn(b'"stream":"typed"', await self.nats_command("request", "typed.a", "one"))
        self.assertIn(b"typed", await self.nats_command("stream", "ls"))
        await self.nats_command("consumer", "add", "typed", "puller", "--pull", "--defaults")
        self.assertIn(b"one", await self.nats_command("consumer", "next", "typed", "puller"))
        listening = asyncio.create_task(collect(await self.client.subscribe("pushed"), 1))
        words = ["typed", "pusher", "--target", "pushed", "--deliver", "all", "--defaults"]
        await self.nats_command("consumer", "add", *words)
        self.assertEqual([m.data for m in await listening], [b"one"])

        await self.nats_command("kv", "add", "typedkeys", "--replicas", "3")
        self.addAsyncCleanup(self.js.delete_key_value, "typedkeys")
        await within(self.heard("$KV.typedkeys.x"))
        await self.nats_command("kv", "put", "typedkeys", "color", "blue")
        said = await self.nats_command("kv", "get", "typedkeys", "color", "--raw")
        self.assertEqual(said.strip(), b"blue")

        await self.nats_command("object", "add", "typedfiles", "--replicas", "3")
        self.addAsyncCleanup(self.js.delete_object_store, "typedfiles")
        await within(self.heard("$O.typedfiles.M.x"))
        one, other = (os.path.join(self.folder, name) for name in ("one", "other"))
        body = random.Random(6).randbytes(300_000)
        with open(one, "wb") as file:
            file.write(body)
        await self.nats_command("object", "put", "typedfiles", one, "--name", "file", "--no-progress")
        words = ["typedfiles", "file", "--output", other, "--no-progress", "--force"]
        await self.nats_command("object", "get", *words)
        with open(other, "rb") as file:
            self.assertEqual(file.read(), body)

    async def test_questions_about_what_is_not_there_are_answered(self):
        with self.assertRaises(NotFoundError):
            await self.js.stream_info("nosuch")
        with self.assertRaises(nats.js.errors.NoStreamResponseError):
            await self.js.publish("no.stream.takes.this", b"x")
        with self.assertRaises(NoRespondersError):
            await self.client.request("nobody", b"?", timeout=LIMIT)


class WithoutAccounts(JetStream, ClusterTest):
    """Everybody is in the default account."""


class WithAccounts(JetStream, ClusterTest):
    """The account may use JetStream, and another one must not see any of it."""

    top = """accounts {
        APP: { jetstream: enabled, users: [{ user: app, password: app }] }
        BARE: { users: [{ user: bare, password: bare }] }
        $SYS: { users: [{ user: sys, password: sys }] }
    }"""
    options = {"user": "app", "password": "app"}

    async def test_an_account_without_jetstream_is_told_so(self):
        client = await self.connect(self.nodes[3], user="bare", password="bare")
        with self.assertRaises((nats.js.errors.Error, NoRespondersError)):
            await client.jetstream(timeout=LIMIT).account_info()


if __name__ == "__main__":
    unittest.main()
