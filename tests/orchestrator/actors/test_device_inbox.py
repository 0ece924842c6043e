from orchestrator.actors.device_inbox import decode, encode


def test_handles_are_the_same_after_a_way_as_text():
    """What torch says of a GPU's memory: numbers, and handles with any bytes in them."""
    handles = [
        b"\xff\x00event",
        bytes(64),
        0,
        b"c" + bytes(range(64)),
        4096,
        512,
        b"/torch_17_4",
        3,
        b"",
        True,
    ]
    text = encode(handles)
    assert text.isascii()
    assert decode(text) == handles
    assert [type(value) for value in decode(text)] == [type(value) for value in handles]
