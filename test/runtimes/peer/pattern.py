"""What the peers of stream.ts send: bytes that say where in a stream they belong."""

PERIOD, CHUNK, STEP = 65_521, 60_000, 977
SLOW_BYTES, SLOW_PAUSE_S = 50_000, 0.005
BLOCK = bytes((i * 7 + (i >> 8) * 13) & 0xFF for i in range(PERIOD))
PATTERN = BLOCK + BLOCK


def pattern(count, start):
    for at in range(0, count, CHUNK):
        begin = (start + at) % PERIOD
        yield PATTERN[begin : begin + min(CHUNK, count - at)]
