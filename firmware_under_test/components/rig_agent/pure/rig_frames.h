/* Finds binary frames in a stream of bytes (PROTOCOL.md, section 6). No ESP-IDF, no allocation in here. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** Most payload bytes in one frame */
#define RIG_FRAME_PAYLOAD_MAX 4096

/** Sync, type, zero, offset, length and CRC */
#define RIG_FRAME_OVERHEAD 14

/** What a frame asks for */
typedef enum {
    RIG_FRAME_DATA = 1,
    RIG_FRAME_ABORT = 2,
} rig_frame_type_t;

/** An intact frame. `payload` is good until bytes are put into the reader again. */
typedef struct {
    rig_frame_type_t type;
    uint32_t offset; /**< of the payload in the image, bytes */
    const uint8_t *payload;
    size_t length;
} rig_frame_t;

/** What the reader found next */
typedef enum {
    RIG_FRAMES_MORE,    /**< nothing until more bytes come */
    RIG_FRAMES_FOUND,   /**< an intact frame */
    RIG_FRAMES_DAMAGED, /**< bytes that were no frame have been dropped */
} rig_frames_result_t;

/** A stream of bytes and the frames in it. After damage the next sync is looked for in what is held already. */
typedef struct {
    uint8_t *held;
    size_t capacity;
    size_t begin; /**< bytes of `held` that are done with */
    size_t end;
    size_t dropped; /**< since this was last reported */
} rig_frames_t;

/**
 * @brief Begin with an empty stream
 *
 * @param buffer kept by the caller
 * @param capacity RIG_FRAME_OVERHEAD + the largest payload that is taken; a frame announcing more counts as damage
 */
void rig_frames_init(rig_frames_t *frames, uint8_t *buffer, size_t capacity);

/**
 * @brief Add received bytes
 *
 * @return how many were taken; fewer than `size` only while rig_frames_next() has not been asked until RIG_FRAMES_MORE
 */
size_t rig_frames_put(rig_frames_t *frames, const uint8_t *data, size_t size);

/** @brief The next thing in the stream; `frame` is only set for RIG_FRAMES_FOUND */
rig_frames_result_t rig_frames_next(rig_frames_t *frames, rig_frame_t *frame);
