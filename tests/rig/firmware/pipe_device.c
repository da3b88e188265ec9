/* A device on a pipe: the pure C of rig_agent with a file for its flash. It knows ping, update_begin and update_end.
 *
 * Usage: pipe_device IMAGE_FILE FRAME WINDOW
 */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rig_args.h"
#include "rig_input.h"
#include "rig_line.h"
#include "rig_sha256.h"
#include "rig_transfer.h"
#include "rig_writer.h"

static int s_file;
static uint32_t s_id;
static rig_sha256_t s_digest;

static void send_line(rig_writer_t *line)
{
    const size_t size = rig_writer_end(line);
    /* A log line of another task now and then. */
    static const char log[] = "I (1234) wifi: state: run -> auth (b0)\n";
    if (write(1, log, sizeof(log) - 1) < 0 || write(1, line->text, size) != (ssize_t)size) {
        exit(1);
    }
}

static size_t read_some(uint8_t *data, size_t size, int timeout_ms)
{
    struct pollfd input = {.fd = 0, .events = POLLIN};
    if (poll(&input, 1, timeout_ms) <= 0) {
        return 0;
    }
    const ssize_t got = read(0, data, size);
    if (got <= 0) {
        exit(0);
    }
    return (size_t)got;
}

static int store(void *context, const uint8_t *data, size_t size)
{
    (void)context;
    rig_sha256_update(&s_digest, data, size);
    return write(s_file, data, size) == (ssize_t)size ? 0 : -1;
}

static void progress(void *context, const char *word, uint32_t offset)
{
    (void)context;
    rig_writer_t line;
    rig_writer_begin(&line, s_id, word);
    rig_writer_number(&line, "offset", offset);
    send_line(&line);
}

static int64_t now_ms(void *context)
{
    (void)context;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const rig_transfer_io_t s_io = {.write = store, .progress = progress, .now_ms = now_ms};

static void say_fail(rig_transfer_status_t status, uint32_t offset)
{
    static const char *const errors[] = {
        [RIG_TRANSFER_WRITE_FAILED] = "ESP_ERR_OTA_VALIDATE_FAILED",
        [RIG_TRANSFER_INVALID_SIZE] = "ESP_ERR_INVALID_SIZE",
        [RIG_TRANSFER_ABORTED] = "ESP_FAIL",
        [RIG_TRANSFER_TIMEOUT] = "ESP_ERR_TIMEOUT",
    };
    uint8_t rest[256];
    rig_writer_t line;
    while (read_some(rest, sizeof(rest), RIG_QUIET_MS) > 0) {
    }
    rig_writer_begin(&line, s_id, "fail");
    rig_writer_text(&line, "error", errors[status]);
    rig_writer_number(&line, "offset", offset);
    send_line(&line);
}

static void receive(uint32_t size, uint32_t timeout_s, size_t capacity)
{
    uint8_t received[300];
    rig_transfer_t transfer;
    rig_transfer_status_t status = RIG_TRANSFER_RUNNING;
    uint8_t *buffer = malloc(capacity);
    if (buffer == NULL || ftruncate(s_file, 0) != 0 || lseek(s_file, 0, SEEK_SET) != 0) {
        exit(1);
    }
    rig_sha256_init(&s_digest);
    rig_transfer_init(&transfer, &s_io, buffer, capacity, size, timeout_s * 1000);
    while (status == RIG_TRANSFER_RUNNING) {
        const size_t got = read_some(received, sizeof(received), (int)rig_transfer_left_ms(&transfer));
        status = rig_transfer_take(&transfer, received, got);
    }
    if (status != RIG_TRANSFER_COMPLETE) {
        say_fail(status, transfer.written);
    }
    free(buffer);
}

static void answer(const rig_line_t *request, uint32_t frame, uint32_t window)
{
    char data[RIG_LINE_MAX];
    uint32_t size = 0;
    uint32_t timeout = 60;
    uint8_t digest[RIG_SHA256_SIZE];
    rig_writer_t line;
    rig_writer_begin(&line, request->id, "ok");
    if (rig_line_is(request, "ping") && rig_arg_text(request, "data", data, sizeof(data))) {
        rig_writer_text(&line, "data", data);
    } else if (rig_line_is(request, "update_end")) {
        rig_sha256_finish(&s_digest, digest);
        rig_writer_text(&line, "slot", "ota_1");
        rig_writer_number(&line, "length", (uint32_t)lseek(s_file, 0, SEEK_END));
        rig_writer_bytes(&line, "sha256", digest, sizeof(digest));
    } else if (rig_line_is(request, "update_begin") && rig_arg_number(request, "size", 1, INT32_MAX, &size) &&
               (!rig_arg_given(request, "timeout") || rig_arg_number(request, "timeout", 1, 3600, &timeout))) {
        rig_writer_text(&line, "slot", "ota_1");
        rig_writer_hex(&line, "offset", 0x110000);
        rig_writer_number(&line, "frame", frame);
        rig_writer_number(&line, "window", window);
    } else {
        rig_writer_begin(&line, request->id, "err");
        rig_writer_text(&line, "error", "ESP_ERR_NOT_SUPPORTED");
    }
    send_line(&line);
    if (size > 0) {
        s_id = request->id;
        receive(size, timeout, frame + RIG_FRAME_OVERHEAD);
    }
}

int main(int argc, char **argv)
{
    static rig_input_t s_input;
    uint8_t received[300];
    if (argc != 4 || (s_file = open(argv[1], O_RDWR | O_CREAT, 0600)) < 0) {
        return 2;
    }
    rig_input_clear(&s_input);
    for (;;) {
        const size_t size = read_some(received, sizeof(received), -1);
        for (size_t i = 0; i < size; i++) {
            rig_line_t line;
            if (!rig_input_put(&s_input, (char)received[i])) {
                continue;
            }
            const rig_line_verdict_t verdict = rig_line_parse(s_input.text, s_input.length, &line);
            if (verdict == RIG_LINE_BAD) {
                rig_writer_t bad;
                rig_writer_begin(&bad, 0, "bad_line");
                send_line(&bad);
            } else if (verdict == RIG_LINE_GOOD && rig_line_is_request(&line)) {
                answer(&line, (uint32_t)atoi(argv[2]), (uint32_t)atoi(argv[3]));
            }
        }
    }
}
