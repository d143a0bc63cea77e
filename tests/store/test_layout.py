"""Where keys lie: partitions spread over a cluster, each in one place, and events always in the same one."""

from collections import Counter

import pytest

from gateway.store.layout import SLOTS, Keys, key_hash, partition_of, slot, tags


@pytest.mark.parametrize(("tag", "wanted"), [("123456789", 0x31C3), ("foo", 12_182), ("bar", 5_061), ("hello", 866)])
def test_the_slot_of_a_tag_is_the_clusters(tag: str, wanted: int) -> None:
    """Known answers: the check value of the Redis cluster specification, and slots that ``CLUSTER KEYSLOT`` names."""
    assert slot(tag) == wanted


@pytest.mark.parametrize("number", [1, 2, 3, 4, 8, 16, 64])
def test_partitions_spread_over_a_cluster(number: int) -> None:
    """Each partition has a range of slots of its own, so that any even split of the slots splits the partitions."""
    found = tags(number)
    assert found[0] == "0"
    assert len(set(found)) == number
    shifted = sorted((slot(tag) - slot("0")) % SLOTS * number // SLOTS for tag in found)
    assert shifted == list(range(number))


def test_every_key_of_a_partition_has_its_tag() -> None:
    """Scripts may only touch keys of one partition."""
    keys = Keys("3-7")
    names = [getattr(keys, name) for name in Keys.__slots__]
    subscriber = keys.subscriber("crm")
    for name in [*names, *subscriber.all, subscriber.key_prefix]:
        assert name.startswith("{3-7}")
    assert len({*names, *subscriber.all, subscriber.key_prefix}) == len(names) + len(subscriber.all) + 1


def test_events_of_one_key_share_a_partition_and_keys_spread() -> None:
    """Order needs one place for a key; speed needs all of them used."""
    for partitions in (1, 2, 4, 7):
        keyed = Counter(partition_of("s", f"chat_{n}", f"evt_{n}", partitions) for n in range(2_000))
        assert sorted(keyed) == list(range(partitions))
        assert max(keyed.values()) < 1.3 * min(keyed.values())
        assert len({partition_of("s", "chat", f"evt_{n}", partitions) for n in range(50)}) == 1
        unkeyed = {partition_of("s", None, f"evt_{n}", partitions) for n in range(500)}
        assert len(unkeyed) == partitions


def test_keys_of_two_sources_are_two_keys() -> None:
    """The same conversation id at two sources is not the same conversation, nor is another cut of the same letters."""
    assert key_hash("one", "chat") != key_hash("two", "chat")
    assert key_hash("a", "bc") != key_hash("ab", "c")
    assert len(key_hash("one", "chat")) == 16
