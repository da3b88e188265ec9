/* The device's side of an update over UART: frames in, acknowledgements out (PROTOCOL.md, section 6).
 * No ESP-IDF, no allocation in here; flash, console and clock are the caller's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rig_frames.h"

/** Device time in which the same `nak` is sent once, ms */
#define RIG_NAK_INTERVAL_MS 100

/** Silence after which the line counts as empty before `fail` is said, ms */
#define RIG_QUIET_MS 100

/** Where a transfer stands */
typedef enum {
    RIG_TRANSFER_RUNNING,
    RIG_TRANSFER_COMPLETE,      /**< all bytes are written; the last `ack` was sent */
    RIG_TRANSFER_WRITE_FAILED,  /**< `write` refused; its error is in `write_error` */
    RIG_TRANSFER_INVALID_SIZE,  /**< a frame went past the size that was announced */
    RIG_TRANSFER_ABORTED,       /**< an abort frame came */
    RIG_TRANSFER_TIMEOUT,       /**< no intact frame came in time */
} rig_transfer_status_t;

/** What a transfer needs from outside */
typedef struct {
    void *context;
    int (*write)(void *context, const uint8_t *data, size_t size);              /**< 0 or an error */
    void (*progress)(void *context, const char *word, uint32_t offset);         /**< say `ack` or `nak` */
    int64_t (*now_ms)(void *context);                                           /**< device time, ms */
} rig_transfer_io_t;

/** One transfer between `update_begin` and its last byte */
typedef struct {
    const rig_transfer_io_t *io;
    rig_frames_t frames;
    rig_transfer_status_t status;
    uint32_t size;    /**< bytes announced */
    uint32_t written; /**< bytes written, all of them without a gap */
    uint32_t timeout_ms;
    int64_t heard_ms; /**< when the last intact frame came */
    bool any_nak;
    uint32_t nak_offset;
    int64_t nak_ms;
    int write_error;
} rig_transfer_t;

/**
 * @brief Begin to receive
 *
 * @param buffer as for rig_frames_init(), kept by the caller
 * @param size bytes that will be sent, 1 or more
 * @param timeout_ms device time without an intact frame after which the transfer is given up
 */
void rig_transfer_init(rig_transfer_t *transfer, const rig_transfer_io_t *io, uint8_t *buffer, size_t capacity,
                       uint32_t size, uint32_t timeout_ms);

/**
 * @brief Take what came over the line; `size` 0 when nothing came, so that the time limit is looked at
 *
 * Bytes behind the frame that completes or ends the transfer are dropped.
 */
rig_transfer_status_t rig_transfer_take(rig_transfer_t *transfer, const uint8_t *data, size_t size);

/** @brief Device time left until the time limit, ms; at least 0 */
uint32_t rig_transfer_left_ms(const rig_transfer_t *transfer);
