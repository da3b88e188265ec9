#include "rig_frames.h"

#include <stdbool.h>
#include <string.h>

#include "rig_crc32.h"

#define SYNC_0 0xa5
#define SYNC_1 0x5a
#define HEADER_SIZE 10
#define CRC_SIZE 4

typedef enum { WHOLE, PART, NOT_A_FRAME } kind_t;

static uint32_t little_endian(const uint8_t *bytes, size_t size)
{
    uint32_t value = 0;
    while (size-- > 0) {
        value = value << 8 | bytes[size];
    }
    return value;
}

/* What stands at a sync. */
static kind_t frame_at(const uint8_t *bytes, size_t size, size_t capacity, rig_frame_t *frame)
{
    if (size < HEADER_SIZE) {
        return PART;
    }
    const uint8_t type = bytes[2];
    const size_t length = little_endian(bytes + 8, 2);
    if ((type != RIG_FRAME_DATA && type != RIG_FRAME_ABORT) || bytes[3] != 0 ||
        length > capacity - RIG_FRAME_OVERHEAD) {
        return NOT_A_FRAME;
    }
    if (size < length + RIG_FRAME_OVERHEAD) {
        return PART;
    }
    const size_t body = HEADER_SIZE + length;
    if (rig_crc32(0, bytes + 2, body - 2) != little_endian(bytes + body, CRC_SIZE)) {
        return NOT_A_FRAME;
    }
    frame->type = (rig_frame_type_t)type;
    frame->offset = little_endian(bytes + 4, 4);
    frame->payload = bytes + HEADER_SIZE;
    frame->length = length;
    return WHOLE;
}

/* Drop what cannot be the begin of a frame; whether there is a sync, or the first half of one at the end. */
static bool seek_sync(rig_frames_t *frames)
{
    while (frames->begin < frames->end) {
        const uint8_t *at = frames->held + frames->begin;
        const size_t left = frames->end - frames->begin;
        if (at[0] == SYNC_0 && (left == 1 || at[1] == SYNC_1)) {
            return left > 1;
        }
        const uint8_t *sync = memchr(at + 1, SYNC_0, left - 1);
        const size_t skip = sync == NULL ? left : (size_t)(sync - at);
        frames->begin += skip;
        frames->dropped += skip;
    }
    return false;
}

static rig_frames_result_t report_damage(rig_frames_t *frames)
{
    frames->dropped = 0;
    return RIG_FRAMES_DAMAGED;
}

void rig_frames_init(rig_frames_t *frames, uint8_t *buffer, size_t capacity)
{
    *frames = (rig_frames_t) {.held = buffer, .capacity = capacity};
}

size_t rig_frames_put(rig_frames_t *frames, const uint8_t *data, size_t size)
{
    if (frames->begin > 0) {
        memmove(frames->held, frames->held + frames->begin, frames->end - frames->begin);
        frames->end -= frames->begin;
        frames->begin = 0;
    }
    const size_t room = frames->capacity - frames->end;
    const size_t taken = size < room ? size : room;
    memcpy(frames->held + frames->end, data, taken);
    frames->end += taken;
    return taken;
}

rig_frames_result_t rig_frames_next(rig_frames_t *frames, rig_frame_t *frame)
{
    while (seek_sync(frames)) {
        const size_t left = frames->end - frames->begin;
        const kind_t kind = frame_at(frames->held + frames->begin, left, frames->capacity, frame);
        if (kind == PART) {
            break;
        }
        if (kind == NOT_A_FRAME) {
            frames->begin++;
            frames->dropped++;
            continue;
        }
        if (frames->dropped > 0) {
            /* It is looked at again by the next call. */
            return report_damage(frames);
        }
        frames->begin += frame->length + RIG_FRAME_OVERHEAD;
        return RIG_FRAMES_FOUND;
    }
    return frames->dropped > 0 ? report_damage(frames) : RIG_FRAMES_MORE;
}
