#include "rig_utf8.h"

#include <stdint.h>

/* Unicode standard, table 3-7: what may follow a first byte, and the narrower range of the second one. */
static size_t tail_of(uint8_t first, uint8_t *low, uint8_t *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (first >= 0xc2 && first <= 0xdf) {
        return 1;
    }
    if (first >= 0xe0 && first <= 0xef) {
        *low = (first == 0xe0) ? 0xa0 : 0x80;
        *high = (first == 0xed) ? 0x9f : 0xbf;
        return 2;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        *low = (first == 0xf0) ? 0x90 : 0x80;
        *high = (first == 0xf4) ? 0x8f : 0xbf;
        return 3;
    }
    return 0;
}

bool rig_utf8_next(const char *text, size_t size, size_t *length)
{
    const uint8_t *bytes = (const uint8_t *)text;
    uint8_t low, high;
    *length = 1;
    if (bytes[0] < 0x80) {
        return true;
    }
    const size_t tail = tail_of(bytes[0], &low, &high);
    if (tail == 0) {
        return false;
    }
    for (size_t i = 1; i <= tail; i++) {
        if (i >= size || bytes[i] < low || bytes[i] > high) {
            return false;
        }
        *length = i + 1;
        low = 0x80;
        high = 0xbf;
    }
    return true;
}

bool rig_utf8_valid(const char *text, size_t size)
{
    size_t length;
    for (size_t at = 0; at < size; at += length) {
        if (!rig_utf8_next(text + at, size - at, &length)) {
            return false;
        }
    }
    return true;
}
