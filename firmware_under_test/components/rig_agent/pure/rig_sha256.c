#include "rig_sha256.h"

#include <string.h>

#define BLOCK 64

static const uint32_t s_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t value, unsigned count)
{
    return value >> count | value << (32 - count);
}

static void take_block(uint32_t state[8], const uint8_t *block)
{
    /* The last 16 words of the message schedule. */
    uint32_t w[16];
    uint32_t v[8];
    memcpy(v, state, sizeof(v));
    for (unsigned t = 0; t < 64; t++) {
        if (t < 16) {
            const uint8_t *at = block + 4 * t;
            w[t] = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
        } else {
            const uint32_t before = w[(t - 15) & 15];
            const uint32_t recent = w[(t - 2) & 15];
            const uint32_t low = rotate(before, 7) ^ rotate(before, 18) ^ before >> 3;
            const uint32_t high = rotate(recent, 17) ^ rotate(recent, 19) ^ recent >> 10;
            w[t & 15] += low + w[(t - 7) & 15] + high;
        }
        const uint32_t sum1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
        const uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        const uint32_t first = v[7] + sum1 + choice + s_k[t] + w[t & 15];
        const uint32_t sum0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
        const uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        memmove(v + 1, v, 7 * sizeof(v[0]));
        v[4] += first;
        v[0] = first + sum0 + majority;
    }
    for (unsigned i = 0; i < 8; i++) {
        state[i] += v[i];
    }
}

void rig_sha256_init(rig_sha256_t *sha)
{
    static const uint32_t start[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
    };
    memcpy(sha->state, start, sizeof(start));
    sha->total = 0;
}

void rig_sha256_update(rig_sha256_t *sha, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    while (size > 0) {
        const size_t filled = sha->total % BLOCK;
        const size_t taken = size < BLOCK - filled ? size : BLOCK - filled;
        memcpy(sha->block + filled, bytes, taken);
        sha->total += taken;
        bytes += taken;
        size -= taken;
        if (filled + taken == BLOCK) {
            take_block(sha->state, sha->block);
        }
    }
}

void rig_sha256_finish(rig_sha256_t *sha, uint8_t digest[RIG_SHA256_SIZE])
{
    const uint64_t bits = sha->total * 8;
    uint8_t tail[BLOCK + 8] = {0x80};
    size_t zeros = (2 * BLOCK - 8 - sha->total % BLOCK) % BLOCK;
    zeros = zeros == 0 ? BLOCK : zeros;
    for (unsigned i = 0; i < 8; i++) {
        tail[zeros + i] = (uint8_t)(bits >> (56 - 8 * i));
    }
    rig_sha256_update(sha, tail, zeros + 8);
    for (unsigned i = 0; i < RIG_SHA256_SIZE; i++) {
        digest[i] = (uint8_t)(sha->state[i / 4] >> (24 - 8 * (i % 4)));
    }
}
