"""The one pass over a bag that indexes it."""

from collections import Counter
from dataclasses import dataclass

from cosmos_ops.logs.bags.find import Bag
from cosmos_ops.logs.bags.messages import LATEST_NS, decoder, meaning, stamp_ns
from cosmos_ops.logs.bags.storage import Channel, Damaged, Message, inflate, open_storage, plain_name
from cosmos_ops.logs.bags.topic import READ, Refused, Topic

_MOST_PACKED_MESSAGE_BYTES = 2**28


@dataclass(eq=False)
class Scan:
    """A bag's index."""

    kind: str
    topics: list[Topic]
    ignored: Counter
    """(topic, type) -> messages of a type that is not read."""
    messages: int
    facts: dict[str, str]
    damage: list[str]
    """What of the bag could not be read, one line each."""


def scan_bag(bag: Bag) -> Scan:
    """Index a bag, as far as it can be read; holds one chunk at a time. Raises nothing but `UserError` for a library that is not installed."""
    scanner = _Scanner(bag)
    for number, (name, path) in enumerate(bag.files):
        try:
            with open_storage(path) as storage:
                try:
                    scanner.read(number, storage)
                finally:
                    scanner.damage += [plain_name(f"{name}: {line}") for line in storage.damage]
        except (Damaged, OSError) as error:
            scanner.damage.append(plain_name(f"{name}: {error}"))
    return scanner.result()


def unpacked(bag: Bag, payload: bytes | memoryview) -> bytes | memoryview:
    """A message as it was before the recorder packed it. Raises `Damaged`."""
    if not bag.packed_messages:
        return payload
    import zstandard

    try:
        size = zstandard.frame_content_size(bytes(payload[:32]))
    except zstandard.ZstdError as error:
        raise Damaged(f"it is not packed with zstd ({error})") from None
    return inflate(bytes(payload), "zstd", size if 0 <= size <= _MOST_PACKED_MESSAGE_BYTES else _MOST_PACKED_MESSAGE_BYTES)


class _Scanner:
    def __init__(self, bag: Bag):
        self._bag = bag
        self._topics: dict[Channel, Topic] = {}
        self._by_name: dict[tuple[str, str, str], Topic] = {}
        self._ignored: Counter = Counter()
        self._kinds: list[str] = []
        self._messages = 0
        self._facts = dict(bag.facts)
        self.damage: list[str] = []

    def read(self, number: int, storage) -> None:
        for message in storage.walk(lambda channel: meaning(channel) is not None):
            self._messages += 1
            topic = self._topic(message.channel)
            if topic is None:
                self._ignored[message.channel.topic, message.channel.schema or message.channel.encoding or "no type"] += 1
                continue
            try:
                self._add(topic, number, message)
            except Damaged as error:
                topic.damaged += 1
                topic.damage = topic.damage or plain_name(str(error))
                if isinstance(error, Refused) and len(topic) == 0:
                    topic.refusal = plain_name(str(error))
        self._kinds.append(storage.kind)
        self._facts.update(storage.facts)

    def result(self) -> Scan:
        kind = ", ".join(dict.fromkeys(self._kinds)) or "unreadable"
        return Scan(kind, list(self._by_name.values()), self._ignored, self._messages, self._facts, self.damage)

    def _topic(self, channel: Channel) -> Topic | None:
        """Messages of one type on one topic belong together, whoever published them."""
        if channel not in self._topics:
            found = meaning(channel)
            if found is None:
                return None
            key = (channel.topic, channel.schema, channel.encoding)
            self._topics[channel] = self._by_name.setdefault(key, Topic(channel, found))
        return self._topics[channel]

    def _add(self, topic: Topic, number: int, message: Message) -> None:
        if message.payload is None:
            raise Damaged("it has no content")
        content = decoder(message.channel)(unpacked(self._bag, message.payload))
        READ[topic.meaning](topic, content)
        topic.refusal = None
        topic.log_ns.append(min(max(message.log_ns, 0), LATEST_NS))
        topic.stamp_ns.append(stamp_ns(content))
        topic.places.extend((number, *message.place))
