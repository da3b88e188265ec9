#include "rig_transfer.h"

static int64_t now(const rig_transfer_t *transfer)
{
    return transfer->io->now_ms(transfer->io->context);
}

static void say(rig_transfer_t *transfer, const char *word)
{
    transfer->io->progress(transfer->io->context, word, transfer->written);
}

static void say_nak(rig_transfer_t *transfer)
{
    const int64_t time = now(transfer);
    const bool same = transfer->any_nak && transfer->nak_offset == transfer->written;
    if (same && time - transfer->nak_ms < RIG_NAK_INTERVAL_MS) {
        return;
    }
    transfer->any_nak = true;
    transfer->nak_offset = transfer->written;
    transfer->nak_ms = time;
    say(transfer, "nak");
}

static rig_transfer_status_t write_payload(rig_transfer_t *transfer, const rig_frame_t *frame)
{
    transfer->write_error = transfer->io->write(transfer->io->context, frame->payload, frame->length);
    if (transfer->write_error != 0) {
        return RIG_TRANSFER_WRITE_FAILED;
    }
    transfer->written += (uint32_t)frame->length;
    say(transfer, "ack");
    return transfer->written == transfer->size ? RIG_TRANSFER_COMPLETE : RIG_TRANSFER_RUNNING;
}

static rig_transfer_status_t take_frame(rig_transfer_t *transfer, const rig_frame_t *frame)
{
    if (frame->type == RIG_FRAME_ABORT) {
        return RIG_TRANSFER_ABORTED;
    }
    const uint64_t end = (uint64_t)frame->offset + frame->length;
    if (end > transfer->size) {
        return RIG_TRANSFER_INVALID_SIZE;
    }
    if (end <= transfer->written) {
        say(transfer, "ack");
        return RIG_TRANSFER_RUNNING;
    }
    if (frame->offset != transfer->written) {
        say_nak(transfer);
        return RIG_TRANSFER_RUNNING;
    }
    return write_payload(transfer, frame);
}

/* Everything in the frame buffer; whether an intact frame was among it. */
static bool take_frames(rig_transfer_t *transfer)
{
    rig_frame_t frame;
    bool intact = false;
    while (transfer->status == RIG_TRANSFER_RUNNING) {
        switch (rig_frames_next(&transfer->frames, &frame)) {
        case RIG_FRAMES_FOUND:
            intact = true;
            transfer->status = take_frame(transfer, &frame);
            break;
        case RIG_FRAMES_DAMAGED:
            say_nak(transfer);
            break;
        default:
            return intact;
        }
    }
    return intact;
}

void rig_transfer_init(rig_transfer_t *transfer, const rig_transfer_io_t *io, uint8_t *buffer, size_t capacity,
                       uint32_t size, uint32_t timeout_ms)
{
    *transfer = (rig_transfer_t) {.io = io, .size = size, .timeout_ms = timeout_ms};
    rig_frames_init(&transfer->frames, buffer, capacity);
    transfer->heard_ms = now(transfer);
}

rig_transfer_status_t rig_transfer_take(rig_transfer_t *transfer, const uint8_t *data, size_t size)
{
    bool intact = false;
    while (size > 0 && transfer->status == RIG_TRANSFER_RUNNING) {
        const size_t taken = rig_frames_put(&transfer->frames, data, size);
        data += taken;
        size -= taken;
        intact = take_frames(transfer) || intact;
    }
    if (transfer->status != RIG_TRANSFER_RUNNING) {
        return transfer->status;
    }
    if (intact) {
        transfer->heard_ms = now(transfer);
    } else if (rig_transfer_left_ms(transfer) == 0) {
        transfer->status = RIG_TRANSFER_TIMEOUT;
    }
    return transfer->status;
}

uint32_t rig_transfer_left_ms(const rig_transfer_t *transfer)
{
    const int64_t left = transfer->heard_ms + transfer->timeout_ms - now(transfer);
    return left > 0 ? (uint32_t)left : 0;
}
