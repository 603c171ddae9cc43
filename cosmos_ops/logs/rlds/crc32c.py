"""CRC-32C (Castagnoli; RFC 3720, appendix B.4), vectorised.

Without its initial and final inversion a CRC is linear over GF(2) and leading zeros do not change it. So a block is cut into lanes of equal length,
all lanes go through the table together, and neighbouring lanes are joined in pairs: the left one is moved on by the right one's length and added.
"""

from functools import cache

import numpy as np

_POLYNOMIAL = 0x82F63B78
_LANES, _LANE_BYTES = 4096, 256
_BLOCK = _LANES * _LANE_BYTES


def crc32c(content: bytes, before: int = 0) -> int:
    """CRC-32C of `content`, or of what `before` is the CRC of followed by `content`."""
    state = before ^ 0xFFFFFFFF
    view = memoryview(content)
    for start in range(0, len(view), _BLOCK):
        block = view[start : start + _BLOCK]
        state = _short(block, state) if len(block) < 4 * _LANE_BYTES else _long(block, state)
    return state ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """As TFRecord files keep a CRC: turned right by 15 bits, plus a constant."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _short(block: memoryview, state: int) -> int:
    table = _byte_table_list()
    for byte in block:
        state = table[(state ^ byte) & 0xFF] ^ state >> 8
    return state


def _long(block: memoryview, state: int) -> int:
    lanes = 1 << (-(-len(block) // _LANE_BYTES) - 1).bit_length()
    padded = np.zeros(lanes * _LANE_BYTES, np.uint8)
    padded[-len(block) :] = np.frombuffer(block, np.uint8)
    first = len(padded) - len(block)
    padded[first : first + 4] ^= np.frombuffer(state.to_bytes(4, "little"), np.uint8)
    low, high = _word_tables()
    crcs = np.zeros(lanes, np.uint32)
    for words in np.ascontiguousarray(padded.view("<u4").reshape(lanes, -1).T):
        crcs ^= words
        crcs = low[crcs & 0xFFFF] ^ high[crcs >> 16]
    for level in range(lanes.bit_length() - 1):
        crcs = _apply(_moves()[level], crcs[0::2]) ^ crcs[1::2]
    return int(crcs[0])


@cache
def _byte_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ _POLYNOMIAL, table >> 1).astype(np.uint32)
    return table


@cache
def _byte_table_list() -> list[int]:
    return _byte_table().tolist()


@cache
def _word_tables() -> tuple[np.ndarray, np.ndarray]:
    """What four more bytes make of the lower and the upper half of a state: 2 x [65536] uint32."""
    halves = []
    for shift in (0, 16):
        state = np.arange(1 << 16, dtype=np.uint32) << np.uint32(shift)
        for _ in range(4):
            state = _byte_table()[state & 0xFF] ^ state >> 8
        halves.append(state)
    return halves[0], halves[1]


@cache
def _moves() -> list[np.ndarray]:
    """For 1, 2, 4, ... lanes, what that many zero bytes make of a state, as tables [4, 256] of its bytes."""
    state = np.arange(256, dtype=np.uint32) << np.array([[0], [8], [16], [24]], np.uint32)
    for _ in range(_LANE_BYTES):
        state = _byte_table()[state & 0xFF] ^ state >> 8
    moves = [state]
    while len(moves) < _LANES.bit_length():
        moves.append(_apply(moves[-1], moves[-1]))
    return moves


def _apply(move: np.ndarray, states: np.ndarray) -> np.ndarray:
    return move[0][states & 0xFF] ^ move[1][states >> 8 & 0xFF] ^ move[2][states >> 16 & 0xFF] ^ move[3][states >> 24]
